// Compile-time limits.
#ifndef TP_CONFIG_H
#define TP_CONFIG_H

// Units of a layer and weights of a unit: column indices are 16 bits wide.
#define TP_MAX_UNITS 65535u
#define TP_MAX_MAP 4194304u // elements of one input or layer output
#define TP_MAX_LAYERS 32u

// A block starts at a multiple of this (64-bit counters in its head).
#define TP_BLOCK_ALIGN 8u

// Longest back-off in epochs: 5 bits of the one byte kept per stored sample.
#define TP_BACKOFF_MAX 31u

// 0 leaves out all but chains of dense layers: no layers of maps, no branches, nothing external or
// computed again. What remains has the same blocks, files and bits.
#ifndef TP_MAPS
#define TP_MAPS 1
#endif

// 1 leaves out kernels for one instruction set.
#ifndef TP_GENERIC_ONLY
#define TP_GENERIC_ONLY 0
#endif

// 0 leaves out integer models (dtype i8 and i16).
#ifndef TP_INTEGER
#define TP_INTEGER 1
#endif

// 1: the port gives a worker on a second core (kernels/tp_kernels_cores.h).
#ifndef TP_CORES
#define TP_CORES 0
#endif

// 1: the kernels of a core that has it round product and sum of a multiply-accumulate once
// (fused). Fewer instructions, other last bits: no longer equal from core to core.
#ifndef TP_FUSED
#define TP_FUSED 0
#endif

// 1: the hottest loops of a Cortex-M0+ lie in a section that the RP2040's linker script puts into RAM.
#ifndef TP_RAM_KERNELS
#define TP_RAM_KERNELS 0
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tinyprop needs a little-endian machine"
#endif

#endif
