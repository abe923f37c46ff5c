// What the programs here need on an emulated core without an operating system (QEMU's mps2 machines
// and its RISC-V one, -icount shift=0: one instruction takes one nanosecond). The SysTick timer of a
// Cortex-M counts at 25 MHz, so a count is a multiple of 40.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

void bench_begin(void);
void bench_end(const char *what);
void bench_print(const char *what, const char *name, uint64_t value);
uint32_t bench_lap(void *last);
size_t bench_read(void *to, size_t n);
void reset(void);
int main(void);

extern uint32_t stack_top;
extern uint8_t bss_start, bss_end;

#ifdef __riscv
// The three instructions may not lie in two pages.
__attribute__((naked, noinline, aligned(16))) static uint32_t semihosting(uint32_t operation
    __attribute__((unused)),
    const void *argument __attribute__((unused))) {
    __asm volatile(".option norvc\n"
                   "slli x0, x0, 0x1f\n"
                   "ebreak\n"
                   "srai x0, x0, 7\n"
                   "ret");
}
#else
static uint32_t semihosting(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = argument;
    __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
#endif

static void write_text(const char *text) {
    semihosting(4, text);
}

// Eight digits, or sixteen where it takes them.
void bench_print(const char *what, const char *name, uint64_t value) {
    char digits[18] = "";
    uint32_t n = value >> 32 ? 16 : 8;
    for (uint32_t i = 0; i < n; i++, value >>= 4) {
        digits[n - 1u - i] = "0123456789abcdef"[value & 15u];
    }
    digits[n] = '\n';
    write_text(what);
    write_text(" ");
    write_text(name);
    write_text(" ");
    write_text(digits);
}

// The next bytes of the file `cases` of the folder that the emulator runs in: how many there were.
size_t bench_read(void *to, size_t n) {
    static uint32_t file;
    if (file == 0) {
        file = semihosting(1, (const void *const[]){"cases", (void *)1, (void *)5}); // "rb"
    }
    return n - semihosting(6, (const void *const[]){(void *)file, to, (void *)n});
}

#ifdef __riscv

static uint64_t started;

static uint64_t instructions(void) {
    uint32_t low, high, again;
    __asm volatile("1: csrr %1, minstreth\n"
                   "csrr %0, minstret\n"
                   "csrr %2, minstreth\n"
                   "bne %1, %2, 1b"
        : "=&r"(low), "=&r"(high), "=&r"(again));
    return (uint64_t)high << 32 | low;
}

void bench_begin(void) {
    started = instructions();
}

void bench_end(const char *what) {
    uint64_t now = instructions();
    if (what != NULL) {
        bench_print("count", what, now - started);
    }
}

#else

#define SYSTICK ((volatile uint32_t *)0xe000e010u) // control, reload, value
#ifndef INSTRUCTIONS_PER_4_TICKS
#define INSTRUCTIONS_PER_4_TICKS 160u
#endif

static volatile uint32_t wraps;

static void systick(void) {
    wraps++;
}

// The emulated RP2040 takes the start for a wrap; what is counted on ARMv6-M is short, so there none is
// looked for.
#ifdef __ARM_ARCH_6M__
#define COUNT 5u
#else
#define COUNT 7u // with the interrupt
#endif

void bench_begin(void) {
    wraps = 0;
    SYSTICK[2] = 0;
    SYSTICK[0] = COUNT;
}

void bench_end(const char *what) {
    uint32_t value = SYSTICK[2];
    SYSTICK[0] = 0;
    uint64_t ticks = ((uint64_t)wraps << 24) + 0xffffffu - value;
    if (what != NULL) {
        bench_print("count", what, ticks * INSTRUCTIONS_PER_4_TICKS / 4u);
    }
}

// Instructions since the last call, less than 2^24 * 40; between bench_begin and bench_end.
uint32_t bench_lap(void *last) {
    uint32_t now = SYSTICK[2], *before = last;
    uint32_t ticks = (*before - now) & 0xffffffu;
    *before = now;
    return (uint32_t)((uint64_t)ticks * INSTRUCTIONS_PER_4_TICKS / 4u);
}

#endif

void reset(void) {
#ifndef __riscv
    SYSTICK[1] = 0xffffffu;
#endif
#ifdef __ARM_FP
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20; // the FPU on
    __asm volatile("dsb\nisb");
#endif
    memset(&bss_start, 0, (size_t)(&bss_end - &bss_start));
    main();
    semihosting(0x18, (const void *)0x20026); // stopped: application exit
    for (;;) {
    }
}

#ifdef __riscv
__attribute__((section(".vectors"), naked, used)) static void start(void) {
    __asm volatile("la sp, stack_top\nj reset");
}
#else
static void fault(void) {
    write_text("fault\n");
    semihosting(0x18, (const void *)0x20024);
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {&stack_top,
    (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
    [15] = (void *)systick};
#endif
