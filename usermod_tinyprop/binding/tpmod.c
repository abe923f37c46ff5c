// Helpers of the binding, the map from errors of the core to exceptions, and the module itself.
#include <string.h>

#include "tpmod.h"

// --- Kinds of objects ---

bool tpmod_is_float(mp_const_obj_t o) {
    #if MICROPY_ENABLE_DYNRUNTIME
    return mp_obj_get_type(o)->name == MP_QSTR_float;
    #else
    return mp_obj_is_float(o);
    #endif
}

bool tpmod_is_slice(mp_const_obj_t o) {
    #if MICROPY_ENABLE_DYNRUNTIME
    // A name can be taken by a user's class, whose instances look different inside.
    mp_obj_t none = mp_const_none;
    return mp_obj_get_type(o) == mp_obj_get_type(mp_fun_table.new_slice(none, none, none));
    #else
    return mp_obj_is_type(o, &mp_type_slice);
    #endif
}

bool tpmod_is_int(mp_const_obj_t o) {
    return mp_obj_is_small_int(o) || o == mp_const_true || o == mp_const_false ||
        mp_obj_is_exact_type(o, &mp_type_int);
}

void *tpmod_malloc_maybe(size_t bytes) {
    #if MICROPY_ENABLE_DYNRUNTIME
    return m_realloc_maybe(NULL, bytes, false);
    #else
    return m_malloc_maybe(bytes);
    #endif
}

mp_obj_t tpmod_new_float(float v) {
    return mp_obj_new_float((mp_float_t)v);
}

mp_obj_t tpmod_new_uint64(uint64_t v) {
    if (v < 0x3fffffffu) {
        return MP_OBJ_NEW_SMALL_INT((mp_int_t)v);
    }
    // Through big-integer arithmetic: native modules have no constructor for 64 bits.
    mp_obj_t high = mp_obj_new_int_from_uint((mp_uint_t)(v >> 32));
    mp_obj_t low = mp_obj_new_int_from_uint((mp_uint_t)(v & 0xffffffffu));
    high = mp_binary_op(MP_BINARY_OP_LSHIFT, high, MP_OBJ_NEW_SMALL_INT(32));
    return mp_binary_op(MP_BINARY_OP_OR, high, low);
}

// --- Exceptions ---

static void tpmod_text_append(void *data, const char *s, size_t n) {
    tpmod_text_t *t = data;
    size_t room = sizeof(t->text) - 1 - t->length;
    n = n < room ? n : room;
    memcpy(t->text + t->length, s, n);
    t->length += n;
    t->text[t->length] = '\0';
}

void tpmod_text_init(tpmod_text_t *t) {
    t->print.data = t;
    t->print.print_strn = tpmod_text_append;
    t->length = 0;
    t->text[0] = '\0';
}

void tpmod_text_number(tpmod_text_t *t, float v) {
    if (v > -1e9f && v < 1e9f && v == (float)(int32_t)v) {
        mp_printf(&t->print, "%d", (int)v);
    } else {
        mp_printf(&t->print, "%.6g", (double)v);
    }
}

void tpmod_text_raise(tpmod_text_t *t, const mp_obj_type_t *type) {
    #if MICROPY_ENABLE_DYNRUNTIME
    mp_raise_type_arg(type, mp_obj_new_str(t->text, t->length));
    #else
    // Copies the text; where the heap gives no room for it, raises without a text.
    mp_raise_msg_varg(type, MP_ERROR_TEXT("%s"), t->text);
    #endif
}

void tpmod_raise(const mp_obj_type_t *type, const char *format, ...) {
    tpmod_text_t t;
    tpmod_text_init(&t);
    va_list args;
    va_start(args, format);
    mp_vprintf(&t.print, format, args);
    va_end(args);
    tpmod_text_raise(&t, type);
}

static bool tpmod_starts(const char *s, const char *start) {
    while (*start != '\0' && *s == *start) {
        s++;
        start++;
    }
    return *start == '\0';
}

static void tpmod_text_layer(tpmod_text_t *t, int32_t place) {
    if (place >= 0) {
        mp_printf(&t->print, "layer %d (Dense): ", (int)place);
    }
}

// "<what> <got>, allowed <lo>..<hi>"
static void tpmod_text_range(tpmod_text_t *t, const tp_fault_t *f) {
    mp_printf(&t->print, "%s ", f->what);
    tpmod_text_number(t, f->got);
    mp_printf(&t->print, ", allowed ");
    bool above = f->hi > 1e38f, below = f->lo < -1e38f;
    if (above && below) {
        mp_printf(&t->print, "any finite number");
    } else if (f->lo > 0.0f && f->lo < 1e-37f) {
        mp_printf(&t->print, "above 0");
        if (!above) {
            mp_printf(&t->print, ", at most ");
            tpmod_text_number(t, f->hi);
        }
    } else if (above) {
        mp_printf(&t->print, "at least ");
        tpmod_text_number(t, f->lo);
    } else if (f->lo == f->hi) {
        tpmod_text_number(t, f->lo);
    } else {
        tpmod_text_number(t, f->lo);
        // The largest float below 1 means: 1 itself is not allowed.
        bool open = f->hi < 1.0f && f->hi > 0.9999999f;
        mp_printf(&t->print, open ? " up to, not including, " : "..");
        tpmod_text_number(t, open ? 1.0f : f->hi);
    }
}

void tpmod_raise_fault(int err, const tp_fault_t *f, int32_t place) {
    tpmod_text_t t;
    tpmod_text_init(&t);
    const mp_obj_type_t *type = &mp_type_ValueError;
    place = place >= 0 ? place : f->layer;
    tpmod_text_layer(&t, place);
    switch (err) {
        case TP_ERR_SHAPE:
            if (tpmod_starts(f->what, "values of x")) {
                mp_printf(&t.print, "x has %u %s, the model takes %u", (unsigned)f->got,
                    f->got == 1.0f ? "value" : "values", (unsigned)f->lo);
                break;
            }
            if (tpmod_starts(f->what, "values of y")) {
                mp_printf(&t.print, "y has %u %s, the model has %u %s", (unsigned)f->got,
                    f->got == 1.0f ? "value" : "values", (unsigned)f->lo,
                    f->lo == 1.0f ? "output" : "outputs");
                break;
            }
            mp_printf(&t.print, "%s: ", f->what);
            tpmod_text_number(&t, f->got);
            mp_printf(&t.print, ", expected ");
            tpmod_text_number(&t, f->lo);
            break;
        case TP_ERR_RANGE:
            if (tpmod_starts(f->what, "class index")) {
                mp_printf(&t.print, "class index %d, the model has %d classes (0..%d)",
                    (int)f->got, (int)f->hi + 1, (int)f->hi);
                break;
            }
            tpmod_text_range(&t, f);
            break;
        case TP_ERR_NONFINITE:
            if (tpmod_starts(f->what, "loss")) {
                mp_printf(&t.print, "the loss is ");
                tpmod_text_number(&t, f->got);
                mp_printf(&t.print, "; nothing was changed (scale the inputs or lower lr)");
            } else if (f->what[1] == '\0') {
                mp_printf(&t.print, "%s[%u] is not a finite number", f->what, (unsigned)f->got);
            } else {
                mp_printf(&t.print, "%s is not a finite number", f->what);
            }
            break;
        case TP_ERR_DTYPE:
            mp_printf(&t.print, "%s has a dtype that is not allowed here", f->what);
            break;
        case TP_ERR_BLOCK:
            if (f->lo > 0.0f) {
                mp_printf(&t.print, "the block has %u bytes, the model needs %u", (unsigned)f->got,
                    (unsigned)f->lo);
            } else {
                mp_printf(&t.print, "the block must start at a multiple of %u bytes",
                    (unsigned)TP_BLOCK_ALIGN);
            }
            break;
        case TP_ERR_SIZE:
            type = &mp_type_MemoryError;
            mp_printf(&t.print, "the model needs more than 2147483647 bytes");
            break;
        default:
            mp_printf(&t.print, "not a tinyprop model, or a damaged one");
            break;
    }
    tpmod_text_raise(&t, type);
}

// --- Arguments ---

static bool tpmod_compare(mp_binary_op_t op, mp_obj_t o, int32_t with) {
    return mp_binary_op(op, o, mp_obj_new_int(with)) == mp_const_true;
}

int32_t tpmod_int_in(mp_obj_t o, const char *what, int32_t place, int32_t lo, int32_t hi) {
    if (o == mp_const_true || o == mp_const_false) {
        o = MP_OBJ_NEW_SMALL_INT(o == mp_const_true);
    }
    bool small = mp_obj_is_small_int(o);
    if (small) {
        mp_int_t v = MP_OBJ_SMALL_INT_VALUE(o);
        if (v >= lo && v <= hi) {
            return (int32_t)v;
        }
    } else if (!tpmod_is_int(o)) {
        tpmod_raise(&mp_type_TypeError, "%s must be an integer", what);
    } else if (tpmod_compare(MP_BINARY_OP_MORE_EQUAL, o, lo) &&
        tpmod_compare(MP_BINARY_OP_LESS_EQUAL, o, hi)) {
        // A board's small integers have 31 bits, so some that fit are none; mp_obj_get_int would
        // refuse -2147483648 there.
        return (int32_t)mp_obj_get_int_truncated(o);
    }
    tpmod_text_t t;
    tpmod_text_init(&t);
    tpmod_text_layer(&t, place);
    mp_printf(&t.print, "%s ", what);
    if (small) {
        mp_printf(&t.print, INT_FMT, MP_OBJ_SMALL_INT_VALUE(o));
    } else {
        tpmod_text_number(&t, tpmod_float(o));
    }
    mp_printf(&t.print, ", allowed %d..%d", (int)lo, (int)hi);
    tpmod_text_raise(&t, &mp_type_ValueError);
}

float tpmod_float(mp_obj_t o) {
    return (float)mp_obj_get_float(o);
}

mp_obj_t *tpmod_items(mp_obj_t o, size_t n, const char *what) {
    size_t length = 0;
    mp_obj_t *items = NULL;
    mp_obj_get_array(o, &length, &items);
    if (length != n) {
        tpmod_raise(&mp_type_ValueError, "%s has %u items, expected %u", what, (unsigned)length,
            (unsigned)n);
    }
    return items;
}

static const char tpmod_activations[][11] = {"linear", "relu", "leaky_relu", "sigmoid", "tanh"};

uint8_t tpmod_activation(mp_obj_t name) {
    const char *s = mp_obj_str_get_str(name);
    for (uint8_t i = 0; i < MP_ARRAY_SIZE(tpmod_activations); i++) {
        if (tpmod_starts(s, tpmod_activations[i]) && tpmod_starts(tpmod_activations[i], s)) {
            return i;
        }
    }
    tpmod_raise(&mp_type_ValueError,
        "activation '%s' is not known: linear, relu, leaky_relu, sigmoid, tanh", s);
}

// --- Buffers ---

uint32_t tpmod_dtype_bytes(uint8_t dtype) {
    return dtype == TP_F32 || dtype == TP_I32 ? 4 : dtype == TP_I16 ? 2 : 1;
}

const char *tpmod_dtype_name(uint8_t dtype) {
    switch (dtype) {
        case TP_F32:
            return "f32";
        case TP_I32:
            return "i32";
        case TP_I16:
            return "i16";
        case TP_I8:
            return "i8";
        default:
            return "u8";
    }
}

uint8_t tpmod_dtype_of(int typecode) {
    switch (typecode) {
        case TP_F32:
        case TP_I32:
        case TP_I16:
        case TP_I8:
        case TP_U8:
            return (uint8_t)typecode;
        case BYTEARRAY_TYPECODE:
            return TP_U8;
        default:
            return 0;
    }
}

mp_obj_t tpmod_as_buffer(mp_obj_t o) {
    if (!tpmod_is_list(o)) {
        return o;
    }
    // The slow way, for a few numbers typed at the prompt: array.array("f", o).
    mp_obj_t module = mp_import_name(MP_QSTR_array, mp_const_none, MP_OBJ_NEW_SMALL_INT(0));
    mp_obj_t args[2] = {MP_OBJ_NEW_QSTR(MP_QSTR_f), o};
    return mp_call_function_n_kw(mp_load_attr(module, MP_QSTR_array), 2, 0, args);
}

// The typecode is checked by the caller.
static void tpmod_get_buffer(mp_obj_t o, const char *what, mp_buffer_info_t *buffer,
    mp_uint_t flags) {
    if (mp_get_buffer(o, buffer, flags)) {
        return;
    }
    if (flags != MP_BUFFER_READ && mp_get_buffer(o, buffer, MP_BUFFER_READ)) {
        tpmod_raise(&mp_type_ValueError, "%s cannot be written to", what);
    }
    tpmod_raise(&mp_type_TypeError, "%s must be an array or another buffer of numbers, not %q",
        what, (qstr)mp_obj_get_type(o)->name);
}

static TPMOD_NORETURN void tpmod_raise_typecode(const char *what, int typecode,
    const char *allowed) {
    tpmod_raise(&mp_type_ValueError, "%s is a buffer of type '%c', allowed: %s", what, typecode,
        allowed);
}

static void tpmod_check_aligned(const void *p, const char *what, uint32_t bytes) {
    // Many boards stop at a misaligned load; a memoryview slice can be at any byte.
    if (((uintptr_t)p & (bytes - 1u)) != 0) {
        tpmod_raise(&mp_type_ValueError, "%s does not start at a multiple of %u bytes", what,
            (unsigned)bytes);
    }
}

void tpmod_view(mp_obj_t o, const char *what, tp_view_t *view) {
    mp_buffer_info_t buffer;
    tpmod_get_buffer(o, what, &buffer, MP_BUFFER_READ);
    uint8_t dtype = tpmod_dtype_of(buffer.typecode);
    if (dtype == 0) {
        tpmod_raise_typecode(what, buffer.typecode,
            "'f' (f32), 'i' (i32), 'h' (i16), 'b' (i8), 'B' (u8)");
    }
    uint32_t bytes = tpmod_dtype_bytes(dtype);
    tpmod_check_aligned(buffer.buf, what, bytes);
    if (buffer.len > 0x7fffffffu) {
        tpmod_raise(&mp_type_ValueError, "%s is longer than 2147483647 bytes", what);
    }
    view->data = buffer.buf;
    view->count = (uint32_t)buffer.len / bytes;
    view->dtype = dtype;
}

int32_t tpmod_int_at(const tp_view_t *v, uint32_t i) {
    switch (v->dtype) {
        case TP_I32:
            return ((const int32_t *)v->data)[i];
        case TP_I16:
            return ((const int16_t *)v->data)[i];
        case TP_I8:
            return ((const int8_t *)v->data)[i];
        default:
            return ((const uint8_t *)v->data)[i];
    }
}

float *tpmod_floats(mp_obj_t o, const char *what, mp_uint_t flags, uint32_t *count) {
    mp_buffer_info_t buffer;
    tpmod_get_buffer(o, what, &buffer, flags);
    if (buffer.typecode != TP_F32) {
        tpmod_raise_typecode(what, buffer.typecode == BYTEARRAY_TYPECODE ? 'B' : buffer.typecode,
            "'f' (f32)");
    }
    tpmod_check_aligned(buffer.buf, what, 4);
    if (buffer.len > 0x7fffffffu) {
        tpmod_raise(&mp_type_ValueError, "%s is longer than 2147483647 bytes", what);
    }
    *count = (uint32_t)buffer.len / 4u;
    return buffer.buf;
}

// --- The module ---

TPMOD_FUNCTIONS(TPMOD_DECLARE)

#if MICROPY_ENABLE_DYNRUNTIME

#define TPMOD_STORE(kind, name, object) mp_store_global(name, MP_OBJ_FROM_PTR(&object));

void tpmod_native_init(void) {
    tpmod_tensor_init();
    tpmod_model_init();
    mp_store_global(MP_QSTR_Tensor, MP_OBJ_FROM_PTR(&tpmod_tensor_type));
    mp_store_global(MP_QSTR_Model, MP_OBJ_FROM_PTR(&tpmod_model_type));
    mp_store_global(MP_QSTR_Session, MP_OBJ_FROM_PTR(&tpmod_session_type));
    mp_store_global(MP_QSTR_MAX_UNITS, MP_OBJ_NEW_SMALL_INT(TP_MAX_UNITS));
    mp_store_global(MP_QSTR_MAX_BACKOFF, MP_OBJ_NEW_SMALL_INT(TP_BACKOFF_MAX));
    mp_store_global(MP_QSTR_FILE_HEAD, MP_OBJ_NEW_SMALL_INT(TP_FILE_HEAD));
    TPMOD_FUNCTIONS(TPMOD_STORE)
}

#else

static const mp_rom_map_elem_t tpmod_globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__tinyprop)},
    {MP_ROM_QSTR(MP_QSTR_Tensor), MP_ROM_PTR(&tpmod_tensor_type)},
    {MP_ROM_QSTR(MP_QSTR_Model), MP_ROM_PTR(&tpmod_model_type)},
    {MP_ROM_QSTR(MP_QSTR_Session), MP_ROM_PTR(&tpmod_session_type)},
    {MP_ROM_QSTR(MP_QSTR_MAX_UNITS), MP_ROM_INT(TP_MAX_UNITS)},
    {MP_ROM_QSTR(MP_QSTR_MAX_BACKOFF), MP_ROM_INT(TP_BACKOFF_MAX)},
    {MP_ROM_QSTR(MP_QSTR_FILE_HEAD), MP_ROM_INT(TP_FILE_HEAD)}, TPMOD_FUNCTIONS(TPMOD_ROM_ROW)};
static MP_DEFINE_CONST_DICT(tpmod_globals, tpmod_globals_table);

const mp_obj_module_t tpmod_module = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&tpmod_globals,
};
MP_REGISTER_MODULE(MP_QSTR__tinyprop, tpmod_module);

#endif
