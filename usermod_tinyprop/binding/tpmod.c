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
    // By bits: the RP2040's float routines take NaN for an infinity.
    union {
        float f;
        uint32_t u;
    } bits = {v};
    if ((bits.u & 0x7fffffffu) > 0x7f800000u) {
        mp_printf(&t->print, "nan");
    } else if (v > -1e9f && v < 1e9f && v == (float)(int32_t)v) {
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

static TPMOD_NORETURN void tpmod_vraise(const mp_obj_type_t *type, const char *format,
    va_list args) {
    tpmod_text_t t;
    tpmod_text_init(&t);
    mp_vprintf(&t.print, format, args);
    tpmod_text_raise(&t, type);
}

void tpmod_raise(const mp_obj_type_t *type, const char *format, ...) {
    va_list args;
    va_start(args, format);
    tpmod_vraise(type, format, args);
}

void tpmod_raise_value(const char *format, ...) {
    va_list args;
    va_start(args, format);
    tpmod_vraise(&mp_type_ValueError, format, args);
}

static bool tpmod_starts(const char *s, const char *start) {
    while (*start != '\0' && *s == *start) {
        s++;
        start++;
    }
    return *start == '\0';
}

static bool tpmod_same(const char *a, const char *b) {
    return tpmod_starts(a, b) && tpmod_starts(b, a);
}

static void tpmod_text_layer(tpmod_text_t *t, const char *label) {
    if (label != NULL) {
        mp_printf(&t->print, "%s: ", label);
    }
}

// Text with the parts of a fault in the place of $w what, $g got, $l lo, $h hi, $n hi + 1, and of
// $a the alignment of a block.
static void tpmod_text_fault(tpmod_text_t *t, const tp_fault_t *f, const char *text) {
    for (; *text != '\0'; text++) {
        if (*text != '$') {
            tpmod_text_append(t, text, 1);
            continue;
        }
        float v = f->got;
        switch (*++text) {
            case 'w':
                mp_printf(&t->print, "%s", f->what);
                continue;
            case 'l':
                v = f->lo;
                break;
            case 'n':
                v = f->hi + 1.0f;
                break;
            case 'h':
                v = f->hi;
                break;
            case 'a':
                v = TP_BLOCK_ALIGN;
                break;
        }
        tpmod_text_number(t, v);
    }
}

// How a range reads.
static const char *tpmod_range(float lo, float hi) {
    bool above_0 = lo > 0.0f && lo < 1e-37f;
    if (hi > 1e38f) {
        return lo < -1e38f ? "any finite number" : above_0 ? "above 0" : "at least $l";
    }
    // The largest float below 1 means: 1 itself is not allowed.
    return above_0                     ? "above 0, at most $h"
        : lo == hi                     ? "$l"
        : hi < 1.0f && hi > 0.9999999f ? "$l up to, not including, 1"
                                       : "$l..$h";
}

void tpmod_raise_fault(int err, const tp_fault_t *f, const char *label) {
    tpmod_text_t t;
    tpmod_text_init(&t);
    tpmod_text_layer(&t, label);
    const mp_obj_type_t *type = &mp_type_ValueError;
    const char *text = "not a tinyprop model, or a damaged one";
    switch (err) {
        case TP_ERR_SHAPE:
            text = tpmod_starts(f->what, "values of x") ? "x has $g values, the model takes $l"
                : tpmod_starts(f->what, "values of y")
                ? "y has $g values, the model has $l outputs"
                : "$w: $g, expected $l";
            break;
        case TP_ERR_RANGE:
            if (tpmod_starts(f->what, "class index")) {
                text = "class index $g, the model has $n classes (0..$h)";
                break;
            }
            tpmod_text_fault(&t, f, "$w $g, allowed ");
            text = tpmod_range(f->lo, f->hi);
            break;
        case TP_ERR_NONFINITE:
            text = tpmod_starts(f->what, "loss")
                ? "the loss is $g; nothing was changed (scale the inputs or lower lr)"
                : f->what[1] == '\0' ? "$w[$g] is not a finite number"
                                     : "$w is not a finite number";
            break;
        case TP_ERR_DTYPE:
            text = "$w has a dtype that is not allowed here";
            break;
        case TP_ERR_BLOCK:
            text = TP_MAPS && tpmod_starts(f->what, "bytes of the ext")
                ? "the external parameters have $g bytes, the model needs $l"
                : f->lo > 0.0f ? "the block has $g bytes, the model needs $l"
                               : "the block must start at a multiple of $a bytes";
            break;
        case TP_ERR_FEATURE:
            text = "built without $w (FEATURES=all has them)";
            break;
        case TP_ERR_SIZE:
            type = &mp_type_MemoryError;
            text = "the model needs more than 2147483647 bytes";
            break;
    }
    tpmod_text_fault(&t, f, text);
    tpmod_text_raise(&t, type);
}

void tpmod_check(int err, const tp_fault_t *fault) {
    if (err < 0) {
        tpmod_raise_fault(err, fault, NULL);
    }
}

// --- Arguments ---

int32_t tpmod_int_in(mp_obj_t o, const char *what, const char *label, int32_t lo, int32_t hi) {
    if (o == mp_const_true || o == mp_const_false) {
        o = MP_OBJ_NEW_SMALL_INT(o == mp_const_true);
    }
    if (!tpmod_is_int(o)) {
        tpmod_raise(&mp_type_TypeError, "%s must be an integer", what);
    }
    // A board's small integers have 31 bits, so some that fit are none; mp_obj_get_int would
    // refuse -2147483648 there.
    int32_t v = (int32_t)mp_obj_get_int_truncated(o);
    bool fits = mp_binary_op(MP_BINARY_OP_EQUAL, o, mp_obj_new_int(v)) == mp_const_true;
    if (fits && v >= lo && v <= hi) {
        return v;
    }
    tpmod_text_t t;
    tpmod_text_init(&t);
    tpmod_text_layer(&t, label);
    mp_printf(&t.print, "%s ", what);
    if (fits) {
        mp_printf(&t.print, "%d", (int)v);
    } else {
        tpmod_text_number(&t, tpmod_float(o));
    }
    mp_printf(&t.print, ", allowed %d..%d", (int)lo, (int)hi);
    tpmod_text_raise(&t, &mp_type_ValueError);
}

float tpmod_float(mp_obj_t o) {
    return (float)mp_obj_get_float(o);
}

void tpmod_check_count(const char *what, uint32_t got, uint32_t expected) {
    if (got != expected) {
        tpmod_raise_value("%s has %u values, expected %u", what, (unsigned)got,
            (unsigned)expected);
    }
}

uint32_t tpmod_check_index(const char *what, mp_int_t i, const char *where, size_t n) {
    if (i < 0 || (mp_uint_t)i >= n) {
        tpmod_raise(&mp_type_IndexError, "%s %d, %s has %u", what, (int)i, where, (unsigned)n);
    }
    return (uint32_t)i;
}

mp_obj_t *tpmod_items(mp_obj_t o, size_t n, const char *what) {
    size_t length = 0;
    mp_obj_t *items = NULL;
    mp_obj_get_array(o, &length, &items);
    tpmod_check_count(what, (uint32_t)length, (uint32_t)n);
    return items;
}

static const char tpmod_activations[][11] = {"linear", "relu", "leaky_relu", "sigmoid", "tanh"};

uint8_t tpmod_activation(mp_obj_t name) {
    const char *s = mp_obj_str_get_str(name);
    for (uint8_t i = 0; i < MP_ARRAY_SIZE(tpmod_activations); i++) {
        if (tpmod_same(s, tpmod_activations[i])) {
            return i;
        }
    }
    tpmod_raise_value("activation '%s' is not known: linear, relu, leaky_relu, sigmoid, tanh", s);
}

// --- Buffers ---

static const char tpmod_dtypes[][4] = {"f32", "i32", "i16", "i8", "u8"};
static const char tpmod_typecodes[] = {TP_F32, TP_I32, TP_I16, TP_I8, TP_U8};

uint32_t tpmod_dtype_bytes(uint8_t dtype) {
    return dtype == TP_F32 || dtype == TP_I32 ? 4 : dtype == TP_I16 ? 2 : 1;
}

const char *tpmod_dtype_name(uint8_t dtype) {
    size_t i = 0;
    while (tpmod_typecodes[i] != dtype) {
        i++;
    }
    return tpmod_dtypes[i];
}

uint8_t tpmod_dtype_of(int typecode) {
    for (size_t i = 0; i < MP_ARRAY_SIZE(tpmod_typecodes); i++) {
        if (tpmod_typecodes[i] == typecode) {
            return (uint8_t)typecode;
        }
    }
    return typecode == BYTEARRAY_TYPECODE ? TP_U8 : 0;
}

uint8_t tpmod_parse_dtype(mp_obj_t name) {
    const char *s = mp_obj_str_get_str(name);
    for (size_t i = 0; i < MP_ARRAY_SIZE(tpmod_typecodes); i++) {
        if (tpmod_same(s, tpmod_dtypes[i])) {
            return (uint8_t)tpmod_typecodes[i];
        }
    }
    tpmod_raise_value("dtype '%s' is not known: f32, i32, i16, i8, u8", s);
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
        tpmod_raise_value("%s cannot be written to", what);
    }
    tpmod_raise(&mp_type_TypeError, "%s must be an array or another buffer of numbers, not %q",
        what, (qstr)mp_obj_get_type(o)->name);
}

static void tpmod_look(mp_obj_t o, const char *what, mp_uint_t flags, bool floats,
    tp_view_t *view) {
    mp_buffer_info_t buffer;
    tpmod_get_buffer(o, what, &buffer, flags);
    uint8_t dtype = tpmod_dtype_of(buffer.typecode);
    if (dtype == 0 || (floats && dtype != TP_F32)) {
        tpmod_raise_value("%s is a buffer of type '%c', allowed: 'f' (f32)%s", what,
            dtype != 0 ? dtype : buffer.typecode,
            floats ? "" : ", 'i' (i32), 'h' (i16), 'b' (i8), 'B' (u8)");
    }
    // Many boards stop at a misaligned load; a memoryview slice can be at any byte.
    uint32_t bytes = tpmod_dtype_bytes(dtype);
    if (((uintptr_t)buffer.buf & (bytes - 1u)) != 0) {
        tpmod_raise_value("%s does not start at a multiple of %u bytes", what, (unsigned)bytes);
    }
    if (sizeof(buffer.len) > 4 && buffer.len > 0x7fffffffu) {
        tpmod_raise_value("%s is longer than 2147483647 bytes", what);
    }
    view->data = buffer.buf;
    view->count = (uint32_t)buffer.len / bytes;
    view->dtype = dtype;
}

void tpmod_view(mp_obj_t o, const char *what, tp_view_t *view) {
    tpmod_look(o, what, MP_BUFFER_READ, false, view);
}

float *tpmod_floats(mp_obj_t o, const char *what, mp_uint_t flags, uint32_t *count) {
    tp_view_t view;
    tpmod_look(o, what, flags, true, &view);
    *count = view.count;
    return (float *)view.data;
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
