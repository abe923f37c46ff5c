// For the kernels on RP2040 (compiled with -include of this file): additions, subtractions and
// products go straight to the boot ROM's routines instead of through the SDK's wrappers, which
// take as long again to look for NaNs. The core checks what enters and what leaves a step by bit
// pattern, and the ROM makes infinities of NaNs, so nothing that is not finite slips through.
__asm__(".set __aeabi_fadd, tp_rom_fadd\n"
        ".set __aeabi_fsub, tp_rom_fsub\n"
        ".set __aeabi_fmul, tp_rom_fmul\n");
