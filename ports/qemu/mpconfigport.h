// MicroPython's configuration of its QEMU port, and what tinyprop's boards have beyond it.
#include "ports/qemu/mpconfigport.h"

#undef MICROPY_PY_TIME
#define MICROPY_PY_TIME (1)
#undef MICROPY_PY_SELECT
#define MICROPY_PY_SELECT (1)
// mpremote mount reads from it.
#undef MICROPY_PY_SYS_STDIO_BUFFER
#define MICROPY_PY_SYS_STDIO_BUFFER (1)

// The ESP32's windowed ABI, with a setjmp that knows it (ports/xtensa/sim.c).
#ifdef __xtensa__
#define MICROPY_EMIT_XTENSAWIN (1)
#define MICROPY_NLR_SETJMP (1)
#define MICROPY_GCREGS_SETJMP (1)
// The constants of a native module stand apart from its code, which may not point to their start.
#define MICROPY_PERSISTENT_CODE_TRACK_FUN_DATA (1)
#define MICROPY_PERSISTENT_CODE_TRACK_BSS_RODATA (1)
#endif
