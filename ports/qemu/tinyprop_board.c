// What MicroPython's QEMU port lacks: a clock, a serial port that `select` can ask, Ctrl-C in a
// running program, and the floating-point unit switched on.
#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "shared/runtime/interrupt_char.h"
#include "uart.h"

int __wrap_main(int argc, char **argv);
int __real_main(int argc, char **argv);
int __wrap_uart_rx_chr(void);
int __real_uart_rx_chr(void);
uintptr_t __wrap_mp_hal_stdio_poll(uintptr_t flags);

#define REGISTER(address) (*(volatile uint32_t *)(address))

#if defined(QEMU_SOC_MPS2)

// CMSDK timer 0 counts down at 25 MHz.
#define TIMER_CTRL REGISTER(0x40000000)
#define TIMER_VALUE REGISTER(0x40000004)
#define TIMER_RELOAD REGISTER(0x40000008)
#define TICKS_PER_US 25

static void clock_start(void) {
    TIMER_RELOAD = 0xffffffffu;
    TIMER_VALUE = 0xffffffffu;
    TIMER_CTRL = 1;
}

static uint32_t clock_count(void) {
    return ~TIMER_VALUE;
}

static int serial_readable(void) {
    return (REGISTER(0x40004004) & 2) != 0;
}

#elif defined(QEMU_SOC_NRF51)

// Timer 0 counts at 16 MHz.
#define TIMER_START REGISTER(0x40008000)
#define TIMER_CAPTURE REGISTER(0x40008040)
#define TIMER_BITMODE REGISTER(0x40008508)
#define TIMER_PRESCALER REGISTER(0x40008510)
#define TIMER_CC REGISTER(0x40008540)
#define TICKS_PER_US 16

static void clock_start(void) {
    TIMER_BITMODE = 3;
    TIMER_PRESCALER = 0;
    TIMER_START = 1;
}

static uint32_t clock_count(void) {
    TIMER_CAPTURE = 1;
    return TIMER_CC;
}

static int serial_readable(void) {
    return REGISTER(0x40002108) != 0;
}

#elif defined(QEMU_SOC_VIRT)

// The core's own clock, 10 MHz.
#define TICKS_PER_US 10

static void clock_start(void) {
}

static uint32_t clock_count(void) {
    return REGISTER(0x0200bff8);
}

static int serial_readable(void) {
    return (*(volatile uint8_t *)0x10000005 & 1) != 0;
}

#endif

// Wraps of the 32-bit counter are noticed as long as somebody asks once in the time of one wrap,
// which is minutes.
static struct {
    uint64_t us;
    uint32_t ms, count, rest_count, rest_us;
} clock_state;

static void clock_update(void) {
    uint32_t now = clock_count();
    uint32_t counts = now - clock_state.count + clock_state.rest_count;
    uint32_t us = counts / TICKS_PER_US;
    clock_state.count = now;
    clock_state.rest_count = counts % TICKS_PER_US;
    clock_state.us += us;
    clock_state.rest_us += us;
    clock_state.ms += clock_state.rest_us / 1000u;
    clock_state.rest_us %= 1000u;
}

mp_uint_t mp_hal_ticks_ms(void) {
    clock_update();
    return clock_state.ms;
}

mp_uint_t mp_hal_ticks_us(void) {
    clock_update();
    return (mp_uint_t)clock_state.us;
}

mp_uint_t mp_hal_ticks_cpu(void) {
    return clock_count();
}

uint64_t mp_hal_time_ns(void) {
    clock_update();
    return clock_state.us * 1000u;
}

void mp_hal_delay_us(mp_uint_t us) {
    for (mp_uint_t start = mp_hal_ticks_us(); mp_hal_ticks_us() - start < us;) {
    }
}

void mp_hal_delay_ms(mp_uint_t ms) {
    for (mp_uint_t start = mp_hal_ticks_ms(); mp_hal_ticks_ms() - start < ms;) {
        tinyprop_board_poll();
        mp_event_handle_nowait();
    }
}

// What arrived while a program ran and was not Ctrl-C; the indices wrap by themselves.
static struct {
    uint8_t head, tail, chars[256];
} typed;

void tinyprop_board_poll(void) {
    if (!serial_readable() || (uint8_t)(typed.head + 1) == typed.tail) {
        return;
    }
    int c = __real_uart_rx_chr();
    if (c == mp_interrupt_char) {
        mp_sched_keyboard_interrupt();
    } else if (c >= 0) {
        typed.chars[typed.head++] = (uint8_t)c;
    }
}

int __wrap_uart_rx_chr(void) {
    return typed.tail != typed.head ? typed.chars[typed.tail++] : __real_uart_rx_chr();
}

uintptr_t __wrap_mp_hal_stdio_poll(uintptr_t flags) {
    uintptr_t ready = flags & MP_STREAM_POLL_WR;
    if ((flags & MP_STREAM_POLL_RD) && (typed.tail != typed.head || serial_readable())) {
        ready |= MP_STREAM_POLL_RD;
    }
    return ready;
}

int __wrap_main(int argc, char **argv) {
    #if defined(__ARM_FP)
    REGISTER(0xe000ed88) |= 0xfu << 20; // coprocessors 10 and 11
    __asm volatile("dsb\n isb");
    #endif
    clock_start();
    return __real_main(argc, argv);
}
