// MicroPython's configuration of its QEMU port, and what tinyprop's boards have beyond it.
#include "ports/qemu/mpconfigport.h"

#undef MICROPY_PY_TIME
#define MICROPY_PY_TIME (1)
#undef MICROPY_PY_SELECT
#define MICROPY_PY_SELECT (1)
// mpremote mount reads from it.
#undef MICROPY_PY_SYS_STDIO_BUFFER
#define MICROPY_PY_SYS_STDIO_BUFFER (1)

// The Cortex-M0 can load native modules too, which upstream leaves out there.
#if defined(QEMU_SOC_NRF51)
#define MICROPY_EMIT_THUMB (1)
#define MICROPY_EMIT_THUMB_ARMV7M (0)
#endif

// Ctrl-C reaches a running program: every so many jumps it is looked for.
void tinyprop_board_poll(void);
#define TINYPROP_POLL_EVERY (256)
#define TINYPROP_POLL \
    if (--poll_countdown == 0) { \
        poll_countdown = TINYPROP_POLL_EVERY; \
        tinyprop_board_poll(); \
    }
#define MICROPY_VM_HOOK_INIT static unsigned int poll_countdown = TINYPROP_POLL_EVERY;
#define MICROPY_VM_HOOK_LOOP TINYPROP_POLL
#define MICROPY_VM_HOOK_RETURN TINYPROP_POLL
