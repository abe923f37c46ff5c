// Entry of the native module: what a firmware's C library would give, a check that floats arrive
// as they were sent, and the module's contents.
#include <string.h>

#include "../../usermod_tinyprop/binding/tpmod.h"

void *memcpy(void *to, const void *from, size_t n) {
    return mp_fun_table.memmove_(to, from, n);
}

void *memmove(void *to, const void *from, size_t n) {
    return mp_fun_table.memmove_(to, from, n);
}

void *memset(void *to, int c, size_t n) {
    return mp_fun_table.memset_(to, c, n);
}

int memcmp(const void *a, const void *b, size_t n) {
    const uint8_t *p = a, *q = b;
    for (; n > 0 && *p == *q; n--) {
        p++;
        q++;
    }
    return n > 0 ? *p - *q : 0;
}

static mp_obj_t native_quarters(int n) {
    return mp_binary_op(MP_BINARY_OP_TRUE_DIVIDE, MP_OBJ_NEW_SMALL_INT(n),
        MP_OBJ_NEW_SMALL_INT(4));
}

static bool native_equal(mp_obj_t a, mp_obj_t b) {
    return mp_binary_op(MP_BINARY_OP_EQUAL, a, b) == mp_const_true;
}

// Boards also load modules built for a lesser core, but where one side passes floats in registers
// of the FPU and the other does not, numbers get lost. Two numbers made by integers alone must
// arrive here, and go back, unchanged. They are two, read one after the other and compared as
// bits, as the one wanted may by chance still be in the register where the other side does not
// put it.
static bool native_floats_arrive(void) {
    mp_obj_t a = native_quarters(6), b = native_quarters(-9);
    volatile union {
        float f;
        uint32_t u;
    } x, y;
    x.f = (float)mp_obj_get_float(a);
    y.f = (float)mp_obj_get_float(b);
    if (x.u != 0x3fc00000u || y.u != 0xc0100000u) {
        return false;
    }
    mp_obj_get_int(MP_OBJ_NEW_SMALL_INT(6)); // leaves an integer in the register of results
    return native_equal(mp_obj_new_float(y.f), b) && native_equal(mp_obj_new_float(x.f), a);
}

#ifdef __xtensa__
// To MicroPython ESP32, -S2 and -S3 are one architecture, but the -S2 has no FPU: there the first
// float instruction would stop the chip.
static bool native_fpu_is_missing(void) {
    mp_obj_t sys = mp_import_name(MP_QSTR_sys, mp_const_none, MP_OBJ_NEW_SMALL_INT(0));
    mp_obj_t machine = mp_load_attr(mp_load_attr(sys, MP_QSTR_implementation), MP_QSTR__machine);
    for (const char *p = mp_obj_str_get_str(machine); *p != '\0'; p++) {
        if (memcmp(p, "ESP32", 5) == 0 && memcmp(p + (p[5] == '-') + 5, "S2", 2) == 0) {
            return true;
        }
    }
    return false;
}
#endif

mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
    #ifdef __xtensa__
    if (native_fpu_is_missing()) {
        mp_raise_msg((mp_obj_type_t *)mp_load_global(MP_QSTR_ImportError),
            "_tinyprop.mpy needs the FPU of ESP32 and ESP32-S3, the ESP32-S2 has none: build the "
            "firmware with tinyprop");
    }
    #endif
    if (!native_floats_arrive()) {
        mp_raise_msg((mp_obj_type_t *)mp_load_global(MP_QSTR_ImportError),
            "_tinyprop.mpy is for " TINYPROP_ARCH ", this firmware passes floats otherwise: "
            "install the file for its own architecture");
    }
    tpmod_native_init();
    MP_DYNRUNTIME_INIT_EXIT
}
