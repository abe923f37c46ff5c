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

mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
    if (!native_floats_arrive()) {
        mp_raise_msg((mp_obj_type_t *)mp_load_global(MP_QSTR_ImportError),
            "_tinyprop.mpy is for " TINYPROP_ARCH ", this firmware passes floats otherwise: "
            "install the file for its own architecture");
    }
    tpmod_native_init();
    MP_DYNRUNTIME_INIT_EXIT
}
