// QEMU's Xtensa machine `lx60` with the windowed ABI of the ESP32: start, register windows,
// setjmp, serial port, and how a program ends. Nothing interrupts here, and every caller uses
// call8, as compilers do.
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define VECTOR(name) __attribute__((naked, used, section(".vector." name)))
#define NAKED __attribute__((naked, used))

extern int main(int argc, char **argv);
extern char sim_bss_start[], sim_bss_end[];
NAKED void sim_vector_overflow8(void);
NAKED void sim_vector_underflow8(void);
NAKED void sim_vector_kernel(void);
NAKED void sim_vector_user(void);
NAKED void sim_vector_double(void);
NAKED void sim_start(void);
NAKED void sim_exception(void);
NAKED void sim_spill(void);
NAKED void sim_exit(int number, int status);
void sim_main(void);
void sim_trap(uint32_t cause, uint32_t pc, uint32_t address);

// --- Start ---

// The stack begins with room for what the window of sim_start spills: four registers below the
// stack pointer, four more above it, whose place is found through the second of the former.
VECTOR("start") void sim_start(void) {
    __asm__ volatile("j 1f\n"
                     ".align 4\n"
                     "2: .long sim_stack_top - 64\n"
                     "3: .long sim_main\n"
                     "1: movi a0, 0\n"
                     "wsr a0, windowbase\n"
                     "rsync\n"
                     "movi a0, 1\n"
                     "wsr a0, windowstart\n"
                     "wsr a0, cpenable\n"
                     "movi a0, 0x40f\n" // register windows on, interrupts off
                     "slli a0, a0, 8\n"
                     "addi a0, a0, 15\n"
                     "wsr a0, ps\n"
                     "rsync\n"
                     "movi a0, 0\n"
                     "l32r a1, 2b\n"
                     "addi a2, a1, 64\n"
                     "addi a3, a1, -16\n"
                     "s32i a2, a3, 4\n"
                     "l32r a2, 3b\n"
                     "callx8 a2\n");
}

void sim_main(void) {
    memset(sim_bss_start, 0, sim_bss_end - sim_bss_start);
    exit(main(0, NULL));
}

// --- Register windows, as the instruction set's manual defines them ---

VECTOR("overflow8") void sim_vector_overflow8(void) {
    __asm__ volatile("s32e a0, a9, -16\n"
                     "l32e a0, a1, -12\n"
                     "s32e a1, a9, -12\n"
                     "s32e a2, a9, -8\n"
                     "s32e a3, a9, -4\n"
                     "s32e a4, a0, -32\n"
                     "s32e a5, a0, -28\n"
                     "s32e a6, a0, -24\n"
                     "s32e a7, a0, -20\n"
                     "rfwo\n");
}

VECTOR("underflow8") void sim_vector_underflow8(void) {
    __asm__ volatile("l32e a0, a9, -16\n"
                     "l32e a1, a9, -12\n"
                     "l32e a2, a9, -8\n"
                     "l32e a7, a1, -12\n"
                     "l32e a3, a9, -4\n"
                     "l32e a4, a7, -32\n"
                     "l32e a5, a7, -28\n"
                     "l32e a6, a7, -24\n"
                     "l32e a7, a7, -20\n"
                     "rfwu\n");
}

VECTOR("kernel") void sim_vector_kernel(void) {
    __asm__ volatile("j sim_exception");
}

VECTOR("user") void sim_vector_user(void) {
    __asm__ volatile("j sim_exception");
}

VECTOR("double") void sim_vector_double(void) {
    __asm__ volatile("j sim_exception");
}

// Cause 5: movsp (alloca) would move the stack pointer away from the spilled registers of the
// caller. Loading them back, as an underflow does, lets it happen when it is tried again. The
// window before ours is free to work in until then.
__attribute__((section(".exception"))) void sim_exception(void) {
    __asm__ volatile("wsr a0, excsave1\n"
                     "rsr a0, exccause\n"
                     "bnei a0, 5, 1f\n"
                     "rsr a0, windowbase\n"
                     "rotw -1\n" // our a0 is a4 now
                     "rsr a2, ps\n"
                     "extui a3, a2, 8, 4\n"
                     "xor a3, a3, a4\n"
                     "slli a3, a3, 8\n"
                     "xor a2, a2, a3\n" // PS.OWB = our window
                     "wsr a2, ps\n"
                     "rsr a4, excsave1\n"
                     "rsync\n"
                     "rotw -1\n"
                     "j sim_vector_underflow8\n"
                     // Anything else is the end: a fresh stack, one window.
                     "1: rsr a2, exccause\n"
                     "rsr a3, epc1\n"
                     "rsr a4, excvaddr\n"
                     "rsr a5, windowbase\n"
                     "ssl a5\n"
                     "movi a6, 1\n"
                     "sll a6, a6\n"
                     "wsr a6, windowstart\n"
                     "movi a6, 0x40f\n"
                     "slli a6, a6, 8\n"
                     "addi a6, a6, 15\n"
                     "wsr a6, ps\n"
                     "rsync\n"
                     "mov a10, a2\n"
                     "mov a11, a3\n"
                     "mov a12, a4\n"
                     "movi a1, sim_stack_top - 64\n"
                     "addi a2, a1, 64\n"
                     "addi a3, a1, -16\n"
                     "s32i a2, a3, 4\n"
                     "movi a2, sim_trap\n"
                     "callx8 a2\n");
}

void sim_trap(uint32_t cause, uint32_t pc, uint32_t address) {
    char text[] = "\nException ..: pc ........, address ........\n";
    uint32_t values[] = {cause, pc, address};
    static const uint8_t ends[] = {12, 25, 43}, digits[] = {2, 8, 8};
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < digits[i]; j++) {
            text[ends[i] - j] = "0123456789abcdef"[values[i] >> 4 * j & 15];
        }
    }
    sim_write(text, sizeof(text) - 1);
    exit(70);
}

// --- setjmp ---

// Enough nested calls push the registers of all callers out to the stack.
void sim_spill(void) {
    __asm__ volatile("entry a1, 32\n"
                     "movi a10, 8\n"
                     "movi a3, 2f\n"
                     "callx8 a3\n"
                     "retw\n"
                     ".align 4\n"
                     "2: entry a1, 32\n"
                     "addi a10, a2, -1\n"
                     "beqz a10, 3f\n"
                     "movi a3, 2b\n"
                     "callx8 a3\n"
                     "3: retw\n");
}

// Words 0 to 3: a0 to a3 of the caller, which lie below our frame; 4 to 7: its a4 to a7, which lie
// in its own frame, below the stack pointer of *its* caller; 8: where to return to.
#define TO_CALLERS_FRAME(base, a) \
    "l32i " a ", " base ", 4\n" \
    "addi " a ", " a ", -16\n" \
    "l32i " a ", " a ", 4\n" \
    "addi " a ", " a ", -32\n"
#define COPY4(to, to_offset, from, from_offset) \
    "l32i a8, " from ", " from_offset "\n s32i a8, " to ", " to_offset "\n" \
    "l32i a8, " from ", " from_offset "+4\n s32i a8, " to ", " to_offset "+4\n" \
    "l32i a8, " from ", " from_offset "+8\n s32i a8, " to ", " to_offset "+8\n" \
    "l32i a8, " from ", " from_offset "+12\n s32i a8, " to ", " to_offset "+12\n"

NAKED int setjmp(jmp_buf buffer) {
    __asm__ volatile("entry a1, 32\n"
                     "movi a8, sim_spill\n"
                     "callx8 a8\n"
                     "addi a4, a1, -16\n" COPY4("a2", "0", "a4", "0") TO_CALLERS_FRAME("a2", "a5")
                         COPY4("a2", "16", "a5", "0") "s32i a0, a2, 32\n"
                                                      "movi a2, 0\n"
                                                      "retw\n");
}

// The registers go back to where setjmp found them; with all windows but this one forgotten, the
// return loads them.
NAKED void longjmp(jmp_buf buffer, int value) {
    __asm__ volatile("entry a1, 32\n"
                     "rsr a4, windowbase\n"
                     "ssl a4\n"
                     "movi a5, 1\n"
                     "sll a5, a5\n"
                     "wsr a5, windowstart\n"
                     "rsync\n"
                     "addi a4, a1, -16\n" COPY4("a4", "0", "a2", "0") TO_CALLERS_FRAME("a2", "a5")
                         COPY4("a5", "0", "a2", "16") "l32i a0, a2, 32\n"
                                                      "mov a2, a3\n"
                                                      "retw\n");
}

// --- The outside ---

// A 16550 with its registers four bytes apart.
#define UART(register) (*(volatile uint32_t *)(0xfd050020 + 4 * (register)))
enum { UART_DATA = 0, UART_STATUS = 5, UART_READABLE = 1, UART_WRITABLE = 32 };

void sim_write(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        while ((UART(UART_STATUS) & UART_WRITABLE) == 0) {
        }
        UART(UART_DATA) = (uint8_t)text[i];
    }
}

bool sim_readable(void) {
    return (UART(UART_STATUS) & UART_READABLE) != 0;
}

int sim_read(void) {
    return sim_readable() ? (int)(UART(UART_DATA) & 255) : -1;
}

uint32_t sim_cycles(void) {
    uint32_t count;
    __asm__ volatile("rsr %0, ccount" : "=r"(count));
    return count;
}

// QEMU's simulator call 1 ends the program; clang does not know the instruction.
NAKED void sim_exit(int number, int status) {
    __asm__ volatile("entry a1, 32\n"
                     ".byte 0x00, 0x51, 0x00\n"
                     "retw\n");
}

void exit(int status) {
    for (;;) {
        sim_exit(1, status);
    }
}

void abort(void) {
    exit(134);
}
