// For the kernels on RP2040 (compiled with -include of this file): additions, subtractions and
// products go straight to the boot ROM's routines instead of through the SDK's wrappers, which
// take as long again to look for NaNs. The core checks what enters and what leaves a step by bit
// pattern, and the ROM makes infinities of NaNs, so nothing that is not finite slips through.
__asm__(".set __aeabi_fadd, tp_rom_fadd\n"
        ".set __aeabi_fsub, tp_rom_fsub\n"
        ".set __aeabi_fmul, tp_rom_fmul\n");

// The hottest loops keep the two addresses in registers and call them from there: 26 cycles less
// for each acc + a * b than by the stubs of rom_float.c. sf_table is the SDK's: add, sub, mul ...
#include <stdint.h>
extern uint32_t sf_table[];
#define TP_MAC_BEGIN uint32_t rom_add_ = sf_table[0], rom_mul_ = sf_table[2]
#define TP_MAC(acc, a, b) tp_rom_mac(rom_add_, rom_mul_, acc, a, b)
// High registers where the compiler has them, which it has not when it saves space.
#ifdef __OPTIMIZE_SIZE__
#define TP_ROM_HELD "r"
#else
#define TP_ROM_HELD "h"
#endif
static inline float tp_rom_mac(uint32_t add, uint32_t mul, float acc, float a, float b) {
    register float r0 __asm("r0") = a;
    register float r1 __asm("r1") = b;
    __asm("blx %[mul]\n"
          "mov r1, %[acc]\n"
          "blx %[add]\n"
        : "+r"(r0), "+r"(r1)
        : [mul] TP_ROM_HELD(mul), [add] TP_ROM_HELD(add), [acc] "r"(acc)
        : "r2", "r3", "ip", "lr", "cc");
    return r0;
}
