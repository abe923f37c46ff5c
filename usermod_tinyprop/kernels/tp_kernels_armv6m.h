// What the two files of the Cortex-M0 and M0+ share.
#ifndef TP_KERNELS_ARMV6M_H
#define TP_KERNELS_ARMV6M_H

// Functions that find their parameters in registers; the compiler sees nothing of what they do. The
// assembler keeps its lines.
#define TP_NAKED __attribute__((naked, noipa))
// The loops over weights that cost most may lie in RAM (RP2040: flash is read through a cache).
#if TP_RAM_KERNELS
#define TP_HOT __attribute__((section(".time_critical.tinyprop")))
#else
#define TP_HOT
#endif
// Each with its own block on the stack, one at a time.
#define TP_APART __attribute__((noinline))
#pragma GCC diagnostic ignored "-Wunused-parameter"
// clang-format off

#define SAVE \
    ".syntax unified\n" \
    "push {r4-r7, lr}\n" \
    "mov r4, r8\n" "mov r5, r9\n" "mov r6, r10\n" "mov r7, r11\n" \
    "push {r0, r4-r7}\n"
#define RESTORE \
    "pop {r1, r4-r7}\n" \
    "mov r8, r4\n" "mov r9, r5\n" "mov r10, r6\n" "mov r11, r7\n" \
    "pop {r4-r7, pc}\n"
#define ZERO "movs r7, #0\n" "mov r8, r7\n" "mov r9, r7\n" "mov r10, r7\n" "mov r11, r7\n"
// clang-format on

#endif
