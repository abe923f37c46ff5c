// What layers.c needs on an emulated Cortex-M without an operating system (QEMU's mps2 machines,
// -icount shift=0: one instruction takes one nanosecond). The SysTick timer counts at 25 MHz, so a
// count is a multiple of 40.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

void bench_begin(void);
void bench_end(const char *what);
void bench_print(const char *what, const char *name, uint32_t value);
uint32_t bench_lap(void *last);
void reset(void);
int main(void);

extern uint32_t stack_top;
extern uint8_t bss_start, bss_end;

#define SYSTICK ((volatile uint32_t *)0xe000e010u) // control, reload, value
#ifndef INSTRUCTIONS_PER_TICK
#define INSTRUCTIONS_PER_TICK 40u
#endif

static void semihosting(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = argument;
    __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void write_text(const char *text) {
    semihosting(4, text);
}

void bench_print(const char *what, const char *name, uint32_t value) {
    char digits[10] = "";
    for (uint32_t i = 0; i < 8; i++) {
        digits[i] = "0123456789abcdef"[(value >> (28u - 4u * i)) & 15u];
    }
    digits[8] = '\n';
    write_text(what);
    write_text(" ");
    write_text(name);
    write_text(" ");
    write_text(digits);
}

void bench_begin(void) {
    SYSTICK[2] = 0;
    SYSTICK[0] = 5;
}

void bench_end(const char *what) {
    uint32_t ticks = 0xffffffu - SYSTICK[2];
    if (what != NULL) {
        bench_print("count", what, ticks * INSTRUCTIONS_PER_TICK);
    }
}

// Instructions since the last call, less than 2^24 * 40; between bench_begin and bench_end.
uint32_t bench_lap(void *last) {
    uint32_t now = SYSTICK[2], *before = last;
    uint32_t ticks = (*before - now) & 0xffffffu;
    *before = now;
    return ticks * INSTRUCTIONS_PER_TICK;
}

void reset(void) {
#ifdef __ARM_FP
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20; // the FPU on
    __asm volatile("dsb\nisb");
#endif
    memset(&bss_start, 0, (size_t)(&bss_end - &bss_start));
    SYSTICK[1] = 0xffffffu;
    main();
    semihosting(0x18, (const void *)0x20026); // stopped: application exit
    for (;;) {
    }
}

static void fault(void) {
    write_text("fault\n");
    semihosting(0x18, (const void *)0x20024);
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {&stack_top,
    (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault};
