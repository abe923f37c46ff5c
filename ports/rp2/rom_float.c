// The boot ROM's float routines, called through the table that the SDK keeps of their addresses.

#define ROM_FLOAT(name, offset) \
    void name(void); \
    __attribute__((naked)) void name(void) { \
        __asm__("ldr r3, =sf_table\n" \
                "ldr r3, [r3, #" #offset "]\n" \
                "bx r3\n" \
                ".ltorg\n"); \
    }

ROM_FLOAT(tp_rom_fadd, 0)
ROM_FLOAT(tp_rom_fsub, 4)
ROM_FLOAT(tp_rom_fmul, 8)
