// Tensor: a shape and a dtype over bytes that another object owns. The owner is kept alive and
// asked for its bytes at each access, so a buffer that moved is found again and one that shrank
// is noticed. (A memoryview made of a part of a tensor holds only an address inside the owner's
// memory, as MicroPython's memoryviews do: it is good as long as the owner is kept elsewhere.)
#include <string.h>

#include "tpmod.h"

#define TPMOD_MAX_DIMS 4
#define TPMOD_PRINT_MAX 16 // elements shown by repr()

typedef struct {
    mp_obj_base_t base;
    mp_obj_t owner;
    uint32_t offset; // of the first element, bytes from the start of the owner's buffer
    uint32_t count;  // elements
    uint32_t dim[TPMOD_MAX_DIMS];
    uint8_t ndim;
    uint8_t dtype;
} tpmod_tensor_t;

// --- Making ---

static const char tpmod_too_large[] = "a tensor has at most 2147483647 elements and bytes";

static uint32_t tpmod_count(const uint32_t *dims, uint32_t ndim) {
    uint64_t count = 1;
    for (uint32_t i = 0; i < ndim; i++) {
        count *= dims[i];
        if (count > 0x7fffffffu) {
            tpmod_raise_value(tpmod_too_large);
        }
    }
    return (uint32_t)count;
}

mp_obj_t tpmod_tensor_new(mp_obj_t owner, uint32_t offset, uint8_t dtype, uint32_t ndim,
    const uint32_t *dims) {
    tpmod_tensor_t *t = mp_obj_malloc(tpmod_tensor_t, (const mp_obj_type_t *)&tpmod_tensor_type);
    t->owner = owner;
    t->offset = offset;
    t->count = tpmod_count(dims, ndim);
    t->ndim = (uint8_t)ndim;
    t->dtype = dtype;
    memcpy(t->dim, dims, ndim * sizeof(dims[0]));
    return MP_OBJ_FROM_PTR(t);
}

mp_obj_t tpmod_tensor_zeros(uint8_t dtype, uint32_t ndim, const uint32_t *dims) {
    uint64_t bytes = (uint64_t)tpmod_count(dims, ndim) * tpmod_dtype_bytes(dtype);
    if (bytes > 0x7fffffffu) {
        tpmod_raise_value(tpmod_too_large);
    }
    void *data = m_malloc((size_t)bytes + (bytes == 0));
    memset(data, 0, (size_t)bytes);
    mp_obj_t owner = mp_obj_new_bytearray_by_ref((size_t)bytes, data);
    return tpmod_tensor_new(owner, 0, dtype, ndim, dims);
}

// shape: an int, or a tuple or list of 1 to 4; one of them may be -1 where total is known.
static uint32_t tpmod_parse_shape(mp_obj_t shape, uint32_t *dims, const uint32_t *total) {
    size_t n = 1;
    mp_obj_t *items = &shape;
    if (tpmod_is_list(shape)) {
        mp_obj_get_array(shape, &n, &items);
    }
    if (n < 1 || n > TPMOD_MAX_DIMS) {
        tpmod_raise_value("shape has %u dimensions, allowed 1..%u", (unsigned)n, TPMOD_MAX_DIMS);
    }
    int open = -1;
    for (uint32_t i = 0; i < n; i++) {
        int32_t d = tpmod_int_in(items[i], "dimension", NULL, total != NULL ? -1 : 0, 0x7fffffff);
        if (d < 0) {
            if (open >= 0) {
                tpmod_raise_value("only one dimension can be -1");
            }
            open = (int)i;
            d = 1;
        }
        dims[i] = (uint32_t)d;
    }
    if (open >= 0) {
        uint32_t rest = tpmod_count(dims, (uint32_t)n);
        dims[open] = rest == 0 ? 0 : *total / rest;
    }
    return (uint32_t)n;
}

// Tensor(shape, dtype=None, buffer=None, offset=0)
static mp_obj_t tpmod_tensor_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw,
    const mp_obj_t *args) {
    (void)type;
    enum { ARG_shape, ARG_dtype, ARG_buffer, ARG_offset };
    const mp_arg_t allowed[] = {
        {MP_QSTR_shape, MP_ARG_OBJ, {.u_obj = mp_const_none}},
        {MP_QSTR_dtype, MP_ARG_OBJ, {.u_obj = mp_const_none}},
        {MP_QSTR_buffer, MP_ARG_OBJ, {.u_obj = mp_const_none}},
        {MP_QSTR_offset, MP_ARG_OBJ, {.u_obj = MP_OBJ_NEW_SMALL_INT(0)}},
    };
    mp_arg_val_t v[MP_ARRAY_SIZE(allowed)];
    mp_arg_parse_all_kw_array(n_args, n_kw, args, MP_ARRAY_SIZE(allowed), allowed, v);
    mp_obj_t shape = v[ARG_shape].u_obj, buffer = v[ARG_buffer].u_obj;
    if (buffer == mp_const_none && shape != mp_const_none && !tpmod_is_list(shape) &&
        !tpmod_is_int(shape)) {
        // Tensor(array): the whole array in one dimension.
        buffer = shape;
        shape = mp_const_none;
    }
    mp_obj_t dtype_in = v[ARG_dtype].u_obj;
    uint8_t dtype = dtype_in == mp_const_none ? TP_F32 : tpmod_parse_dtype(dtype_in);
    uint32_t dims[TPMOD_MAX_DIMS];
    if (buffer == mp_const_none) {
        if (shape == mp_const_none) {
            tpmod_raise(&mp_type_TypeError, "Tensor needs a shape or a buffer");
        }
        uint32_t ndim = tpmod_parse_shape(shape, dims, NULL);
        return tpmod_tensor_zeros(dtype, ndim, dims);
    }
    uint32_t offset = (uint32_t)tpmod_int_in(v[ARG_offset].u_obj, "offset", NULL, 0, 0x7fffffff);
    mp_buffer_info_t b;
    mp_get_buffer_raise(buffer, &b, MP_BUFFER_READ);
    if (dtype_in == mp_const_none) {
        tp_view_t all;
        tpmod_view(buffer, "source", &all);
        dtype = all.dtype;
    }
    uint32_t bytes = tpmod_dtype_bytes(dtype), ndim = 1;
    size_t rest = b.len < offset ? 0 : b.len - offset;
    uint32_t room = (uint32_t)(rest > 0x7fffffffu ? 0x7fffffffu : rest) / bytes;
    if (shape != mp_const_none) {
        ndim = tpmod_parse_shape(shape, dims, &room);
    } else {
        dims[0] = room;
    }
    uint32_t count = tpmod_count(dims, ndim);
    if (count > room) {
        tpmod_raise_value("the shape has %u elements of %u bytes, the buffer %u bytes after "
                          "offset %u",
            (unsigned)count, (unsigned)bytes, (unsigned)rest, (unsigned)offset);
    }
    if ((((uintptr_t)b.buf + offset) & (bytes - 1u)) != 0) {
        tpmod_raise_value("offset %u: %s must start at a multiple of %u bytes", (unsigned)offset,
            tpmod_dtype_name(dtype), (unsigned)bytes);
    }
    return tpmod_tensor_new(buffer, offset, dtype, ndim, dims);
}

// --- Looking at the elements ---

// The first element, for this call only.
static void *tpmod_tensor_data(const tpmod_tensor_t *t, mp_uint_t flags) {
    mp_buffer_info_t b;
    if (!mp_get_buffer(t->owner, &b, flags)) {
        tpmod_raise_value("the buffer of this tensor cannot be written to");
    }
    uint32_t bytes = tpmod_dtype_bytes(t->dtype);
    uint64_t need = (uint64_t)t->count * bytes + t->offset;
    if (b.len < need) {
        tpmod_raise_value("the buffer of this tensor shrank to %u bytes, it needs %u",
            (unsigned)b.len, (unsigned)need);
    }
    if ((((uintptr_t)b.buf + t->offset) & (bytes - 1u)) != 0) {
        tpmod_raise_value("the buffer of this tensor moved to an odd address");
    }
    return (uint8_t *)b.buf + t->offset;
}

static mp_int_t tpmod_tensor_get_buffer(mp_obj_t self_in, mp_buffer_info_t *buffer,
    mp_uint_t flags) {
    tpmod_tensor_t *self = MP_OBJ_TO_PTR(self_in);
    mp_buffer_info_t b;
    if (!mp_get_buffer(self->owner, &b, flags & MP_BUFFER_RW)) {
        return 1;
    }
    buffer->buf = tpmod_tensor_data(self, flags & MP_BUFFER_RW);
    buffer->len = (size_t)self->count * tpmod_dtype_bytes(self->dtype);
    buffer->typecode = self->dtype;
    return 0;
}

// The part that an index of the first axes selects; ndim 0 = one element.
static tpmod_tensor_t tpmod_tensor_part(const tpmod_tensor_t *self, mp_obj_t index) {
    size_t n = 1;
    mp_obj_t *items = &index;
    if (mp_obj_get_type(index) == &mp_type_tuple) {
        mp_obj_get_array(index, &n, &items);
    }
    if (n > self->ndim) {
        tpmod_raise(&mp_type_IndexError, "%u indices, the tensor has %u dimensions", (unsigned)n,
            (unsigned)self->ndim);
    }
    tpmod_tensor_t part = *self;
    uint32_t bytes = tpmod_dtype_bytes(self->dtype);
    for (size_t i = 0; i < n; i++) {
        uint32_t length = part.dim[0];
        uint32_t stride = length == 0 ? 0 : part.count / length;
        if (i == 0 && n == 1 && tpmod_is_slice(items[i])) {
            const mp_obj_slice_t *s = MP_OBJ_TO_PTR(items[i]);
            if (s->step != mp_const_none && s->step != MP_OBJ_NEW_SMALL_INT(1)) {
                tpmod_raise_value("the step of a tensor's slice must be 1");
            }
            mp_int_t end = (mp_int_t)length;
            mp_int_t start = s->start == mp_const_none ? 0 : mp_obj_get_int(s->start);
            mp_int_t stop = s->stop == mp_const_none ? end : mp_obj_get_int(s->stop);
            start = start < 0 ? start + end : start;
            stop = stop < 0 ? stop + end : stop;
            start = start < 0 ? 0 : start > end ? end : start;
            stop = stop < start ? start : stop > end ? end : stop;
            part.offset += (uint32_t)start * stride * bytes;
            part.dim[0] = (uint32_t)(stop - start);
            part.count = part.dim[0] * stride;
            return part;
        }
        if (!tpmod_is_int(items[i])) {
            tpmod_raise(&mp_type_TypeError,
                "tensor indices are integers, or one slice of the first axis");
        }
        mp_int_t at = mp_obj_get_int(items[i]);
        at = at < 0 ? at + (mp_int_t)length : at;
        if (at < 0 || at >= (mp_int_t)length) {
            at = mp_obj_get_int(items[i]); // as it was written
        }
        part.offset += tpmod_check_index("index", at, "the axis", length) * stride * bytes;
        part.count = stride;
        part.ndim--;
        memmove(part.dim, part.dim + 1, part.ndim * sizeof(part.dim[0]));
    }
    return part;
}

// --- Writing ---

static int32_t tpmod_lowest(uint8_t dtype) {
    return dtype == TP_I32 ? INT32_MIN : dtype == TP_I16 ? -32768 : dtype == TP_I8 ? -128 : 0;
}

static int32_t tpmod_highest(uint8_t dtype) {
    return dtype == TP_I32 ? INT32_MAX : dtype == TP_I16 ? 32767 : dtype == TP_I8 ? 127 : 255;
}

static void tpmod_put_int(uint8_t dtype, void *data, uint32_t i, int32_t v) {
    switch (dtype) {
        case TP_I32:
            ((int32_t *)data)[i] = v;
            break;
        case TP_I16:
            ((int16_t *)data)[i] = (int16_t)v;
            break;
        default:
            ((uint8_t *)data)[i] = (uint8_t)v;
            break;
    }
}

// A number as dtype holds it.
typedef union {
    float f;
    int32_t i;
} tpmod_number_t;

static tpmod_number_t tpmod_parse_number(uint8_t dtype, mp_obj_t value) {
    tpmod_number_t v;
    if (dtype == TP_F32) {
        v.f = tpmod_float(value);
    } else {
        v.i = tpmod_int_in(value, tpmod_dtype_name(dtype), NULL, tpmod_lowest(dtype),
            tpmod_highest(dtype));
    }
    return v;
}

static void tpmod_put(uint8_t dtype, void *data, uint32_t i, tpmod_number_t v) {
    if (dtype == TP_F32) {
        ((float *)data)[i] = v.f;
    } else {
        tpmod_put_int(dtype, data, i, v.i);
    }
}

static void tpmod_tensor_set_all(const tpmod_tensor_t *t, mp_obj_t value) {
    tpmod_number_t v = tpmod_parse_number(t->dtype, value);
    void *data = tpmod_tensor_data(t, MP_BUFFER_WRITE);
    for (uint32_t i = 0; i < t->count; i++) {
        tpmod_put(t->dtype, data, i, v);
    }
}

// Nearest integer (halves to even) inside lo..hi.
static int32_t tpmod_round(float x, int32_t lo, int32_t hi) {
    if (x <= (float)lo) {
        return lo;
    }
    if (x >= (float)hi) {
        return hi;
    }
    if (x > -4194304.0f && x < 4194304.0f) {
        x = (x + 12582912.0f) - 12582912.0f; // 1.5 * 2^23: the sum has no places for a fraction
    }
    return (int32_t)x;
}

static void tpmod_tensor_set_view(const tpmod_tensor_t *t, mp_obj_t source) {
    tp_view_t v;
    tpmod_view(source, "source", &v);
    tpmod_check_count("source", v.count, t->count);
    void *data = tpmod_tensor_data(t, MP_BUFFER_WRITE);
    if (v.dtype == t->dtype) {
        memmove(data, v.data, (size_t)t->count * tpmod_dtype_bytes(t->dtype));
        return;
    }
    if (t->dtype == TP_F32) {
        uint32_t bad;
        tp_convert(data, &v, NULL, NULL, 0, &bad);
        return;
    }
    const float *x = v.data;
    for (uint32_t i = 0; v.dtype == TP_F32 && i < v.count; i++) {
        if (x[i] != x[i]) {
            tpmod_raise_value("source[%u] is nan: %s has no such number", (unsigned)i,
                tpmod_dtype_name(t->dtype));
        }
    }
    int32_t lo = tpmod_lowest(t->dtype), hi = tpmod_highest(t->dtype);
    for (uint32_t i = 0; i < v.count; i++) {
        int32_t q;
        if (v.dtype == TP_F32) {
            q = tpmod_round(x[i], lo, hi);
        } else {
            q = tp_view_int(&v, i);
            q = q < lo ? lo : q > hi ? hi : q;
        }
        tpmod_put_int(t->dtype, data, i, q);
    }
}

static void tpmod_tensor_set_list(const tpmod_tensor_t *t, mp_obj_t list) {
    // All are checked before the first is written. Each number is fetched on its own: an object
    // with a __float__ may do anything to the list and to the buffer.
    for (uint32_t i = 0; i < 2 * t->count || i == 0; i++) {
        size_t n = 0;
        mp_obj_t *items = NULL;
        mp_obj_get_array(list, &n, &items);
        tpmod_check_count("source", (uint32_t)n, t->count);
        if (n == 0) {
            return;
        }
        uint32_t at = i < t->count ? i : i - t->count;
        tpmod_number_t v = tpmod_parse_number(t->dtype, items[at]);
        void *data = tpmod_tensor_data(t, MP_BUFFER_WRITE);
        if (i >= t->count) {
            tpmod_put(t->dtype, data, at, v);
        }
    }
}

// A number into all elements; a buffer, list or tuple of as many elements one by one.
static void tpmod_tensor_set(const tpmod_tensor_t *t, mp_obj_t value) {
    if (tpmod_is_list(value)) {
        tpmod_tensor_set_list(t, value);
    } else if (tpmod_is_int(value) || tpmod_is_float(value)) {
        tpmod_tensor_set_all(t, value);
    } else {
        tpmod_tensor_set_view(t, value);
    }
}

// --- Methods ---

static mp_obj_t tpmod_tensor_subscr(mp_obj_t self_in, mp_obj_t index, mp_obj_t value) {
    if (value == MP_OBJ_NULL) {
        return MP_OBJ_NULL; // deletion is not supported
    }
    tpmod_tensor_t part = tpmod_tensor_part(MP_OBJ_TO_PTR(self_in), index);
    if (value == MP_OBJ_SENTINEL) {
        if (part.ndim == 0) {
            void *data = tpmod_tensor_data(&part, MP_BUFFER_READ);
            return mp_binary_get_val_array((char)part.dtype, data, 0);
        }
        return tpmod_tensor_new(part.owner, part.offset, part.dtype, part.ndim, part.dim);
    }
    if (part.ndim == 0) {
        tpmod_tensor_set_all(&part, value);
    } else {
        tpmod_tensor_set(&part, value);
    }
    return mp_const_none;
}

// Iteration goes through here: no iterator type of our own.
static mp_obj_t tpmod_tensor_getitem(mp_obj_t self_in, mp_obj_t index) {
    return tpmod_tensor_subscr(self_in, index, MP_OBJ_SENTINEL);
}
MP_DEFINE_CONST_FUN_OBJ_2(tpmod_tensor_getitem_obj, tpmod_tensor_getitem);

static mp_obj_t tpmod_tensor_fill(mp_obj_t self_in, mp_obj_t value) {
    tpmod_tensor_set_all(MP_OBJ_TO_PTR(self_in), value);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(tpmod_tensor_fill_obj, tpmod_tensor_fill);

static mp_obj_t tpmod_tensor_copy_from(mp_obj_t self_in, mp_obj_t source) {
    if (tpmod_is_int(source) || tpmod_is_float(source)) {
        tpmod_raise(&mp_type_TypeError, "copy_from takes a buffer; fill() takes a number");
    }
    tpmod_tensor_set(MP_OBJ_TO_PTR(self_in), source);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(tpmod_tensor_copy_from_obj, tpmod_tensor_copy_from);

static mp_obj_t tpmod_tensor_reshape(mp_obj_t self_in, mp_obj_t shape) {
    tpmod_tensor_t *self = MP_OBJ_TO_PTR(self_in);
    uint32_t dims[TPMOD_MAX_DIMS];
    uint32_t ndim = tpmod_parse_shape(shape, dims, &self->count);
    uint32_t count = tpmod_count(dims, ndim);
    tpmod_check_count("the new shape", count, self->count);
    return tpmod_tensor_new(self->owner, self->offset, self->dtype, ndim, dims);
}
MP_DEFINE_CONST_FUN_OBJ_2(tpmod_tensor_reshape_obj, tpmod_tensor_reshape);

// List of axis `axis`, whose first element is number `at`.
static mp_obj_t tpmod_tensor_list(const tpmod_tensor_t *self, uint32_t axis, uint32_t at) {
    uint32_t stride = 1;
    for (uint32_t i = axis + 1; i < self->ndim; i++) {
        stride *= self->dim[i];
    }
    mp_obj_t list = mp_obj_new_list(0, NULL);
    for (uint32_t i = 0; i < self->dim[axis]; i++) {
        mp_obj_t item;
        if (axis + 1 < self->ndim) {
            item = tpmod_tensor_list(self, axis + 1, at + i * stride);
        } else {
            // Fetched anew for each element: appending to the list may run a finaliser.
            void *data = tpmod_tensor_data(self, MP_BUFFER_READ);
            item = mp_binary_get_val_array((char)self->dtype, data, at + i);
        }
        mp_obj_list_append(list, item);
    }
    return list;
}

static mp_obj_t tpmod_tensor_tolist(mp_obj_t self_in) {
    return tpmod_tensor_list(MP_OBJ_TO_PTR(self_in), 0, 0);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_tensor_tolist_obj, tpmod_tensor_tolist);

static mp_obj_t tpmod_tensor_shape(const tpmod_tensor_t *self) {
    mp_obj_t items[TPMOD_MAX_DIMS];
    for (uint32_t i = 0; i < self->ndim; i++) {
        items[i] = mp_obj_new_int_from_uint(self->dim[i]);
    }
    return mp_obj_new_tuple(self->ndim, items);
}

static void tpmod_tensor_attr(mp_obj_t self_in, qstr attr, mp_obj_t *dest) {
    tpmod_tensor_t *self = MP_OBJ_TO_PTR(self_in);
    if (dest[0] != MP_OBJ_NULL) {
        return; // attributes cannot be set
    }
    if (attr == MP_QSTR_shape) {
        dest[0] = tpmod_tensor_shape(self);
    } else if (attr == MP_QSTR_dtype) {
        dest[0] = mp_obj_new_str(tpmod_dtype_name(self->dtype),
            self->dtype == TP_I8 || self->dtype == TP_U8 ? 2 : 3);
    } else if (attr == MP_QSTR_ndim) {
        dest[0] = MP_OBJ_NEW_SMALL_INT(self->ndim);
    } else if (attr == MP_QSTR_size) {
        dest[0] = mp_obj_new_int_from_uint(self->count);
    } else if (attr == MP_QSTR_nbytes) {
        dest[0] = mp_obj_new_int_from_uint(self->count * tpmod_dtype_bytes(self->dtype));
    } else {
        dest[1] = MP_OBJ_SENTINEL; // look among the methods
    }
}

static mp_obj_t tpmod_tensor_unary_op(mp_unary_op_t op, mp_obj_t self_in) {
    tpmod_tensor_t *self = MP_OBJ_TO_PTR(self_in);
    switch (op) {
        case MP_UNARY_OP_LEN:
            return mp_obj_new_int_from_uint(self->dim[0]);
        case MP_UNARY_OP_BOOL:
            return mp_obj_new_bool(self->dim[0] != 0);
        default:
            return MP_OBJ_NULL;
    }
}

// Tensor((2, 3), "f32", [1, 2, 3, 4, 5, 6])
static void tpmod_tensor_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    (void)kind;
    tpmod_tensor_t *self = MP_OBJ_TO_PTR(self_in);
    mp_printf(print, "Tensor((");
    for (uint32_t i = 0; i < self->ndim; i++) {
        mp_printf(print, i == 0 ? "%u" : ", %u", (unsigned)self->dim[i]);
    }
    mp_printf(print, self->ndim == 1 ? ",), \"%s\", [" : "), \"%s\", [",
        tpmod_dtype_name(self->dtype));
    tp_view_t v = {NULL, self->count, self->dtype};
    for (uint32_t i = 0; i < self->count && i < TPMOD_PRINT_MAX; i++) {
        v.data = tpmod_tensor_data(self, MP_BUFFER_READ);
        const char *comma = i == 0 ? "" : ", ";
        if (self->dtype == TP_F32) {
            mp_printf(print, "%s%.6g", comma, (double)((const float *)v.data)[i]);
        } else {
            mp_printf(print, "%s%d", comma, (int)tp_view_int(&v, i));
        }
    }
    mp_printf(print, self->count > TPMOD_PRINT_MAX ? ", ...])" : "])");
}

// --- The type ---

#if MICROPY_ENABLE_DYNRUNTIME

// Not static: the linker of native modules wants variables to be global.
tpmod_type_t tpmod_tensor_type;
mp_map_elem_t tpmod_tensor_locals_table[0 TPMOD_TENSOR_METHODS(TPMOD_ONE)];
static MP_DEFINE_CONST_DICT(tpmod_tensor_locals, tpmod_tensor_locals_table);

void tpmod_tensor_init(void) {
    mp_map_elem_t *row = tpmod_tensor_locals_table;
    TPMOD_TENSOR_METHODS(TPMOD_NATIVE_ROW)
    tpmod_type_t *t = &tpmod_tensor_type;
    t->base.type = &mp_type_type;
    t->name = MP_QSTR_Tensor;
    MP_OBJ_TYPE_SET_SLOT(t, make_new, tpmod_tensor_make_new, 0);
    MP_OBJ_TYPE_SET_SLOT(t, print, tpmod_tensor_print, 1);
    MP_OBJ_TYPE_SET_SLOT(t, unary_op, tpmod_tensor_unary_op, 2);
    MP_OBJ_TYPE_SET_SLOT(t, attr, tpmod_tensor_attr, 3);
    MP_OBJ_TYPE_SET_SLOT(t, subscr, tpmod_tensor_subscr, 4);
    MP_OBJ_TYPE_SET_SLOT(t, buffer, tpmod_tensor_get_buffer, 5);
    MP_OBJ_TYPE_SET_SLOT(t, locals_dict, (void *)&tpmod_tensor_locals, 6);
}

#else

static const mp_rom_map_elem_t tpmod_tensor_locals_table[] = {TPMOD_TENSOR_METHODS(TPMOD_ROM_ROW)};
static MP_DEFINE_CONST_DICT(tpmod_tensor_locals, tpmod_tensor_locals_table);

MP_DEFINE_CONST_OBJ_TYPE(tpmod_tensor_type, MP_QSTR_Tensor, MP_TYPE_FLAG_NONE, make_new,
    tpmod_tensor_make_new, print, tpmod_tensor_print, unary_op, tpmod_tensor_unary_op, attr,
    tpmod_tensor_attr, subscr, tpmod_tensor_subscr, buffer, tpmod_tensor_get_buffer, locals_dict,
    &tpmod_tensor_locals);

#endif
