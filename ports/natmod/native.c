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

// Boards also load modules built for a lesser core, but where one side passes floats in registers
// of the FPU and the other does not, numbers get lost. Made by integers alone, `quarters / 4` must
// arrive here, and go back, unchanged.
static bool native_float_arrives(int quarters, float v) {
    mp_obj_t o = mp_binary_op(MP_BINARY_OP_TRUE_DIVIDE, MP_OBJ_NEW_SMALL_INT(quarters),
        MP_OBJ_NEW_SMALL_INT(4));
    volatile float got = (float)mp_obj_get_float(o);
    return got == v && mp_binary_op(MP_BINARY_OP_EQUAL, mp_obj_new_float(v), o) == mp_const_true;
}

mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
    if (!native_float_arrives(6, 1.5f) || !native_float_arrives(-9, -2.25f)) {
        mp_raise_msg((mp_obj_type_t *)mp_load_global(MP_QSTR_ImportError),
            "_tinyprop.mpy is for " TINYPROP_ARCH ", this firmware passes floats otherwise: "
            "install the file for its own architecture");
    }
    tpmod_native_init();
    MP_DYNRUNTIME_INIT_EXIT
}
