// Model: the methods on a model block, and Session, which holds the model that train_step() of
// the package means. The block is a bytearray of the caller; it is asked for its bytes at each
// call. Nothing here allocates between fetching a pointer and the last use of it.
#include <string.h>

#include "tpmod.h"

// Floats are objects on the heap in two of the four object representations.
#define TPMOD_HEAP_FLOATS \
    (MICROPY_OBJ_REPR == MICROPY_OBJ_REPR_A || MICROPY_OBJ_REPR == MICROPY_OBJ_REPR_B)

typedef struct {
    mp_obj_base_t base;
    mp_obj_t block;
    mp_obj_t external;   // buffer of the parameters outside the block, or None
    mp_obj_t spare_loss; // returned where the heap has no room for a new float
    float loss_sum;      // since the last tally()
    uint32_t loss_count;
} tpmod_model_t;

// A float object of the runtime (private to its objfloat.c).
typedef struct {
    mp_obj_base_t base;
    mp_float_t value;
} tpmod_float_t;

// --- Structs of tp.h as tuples of their numbers ---

// What is only read: what it is, and where it stands; 2 bytes instead of the 8 of a tp_field_t.
#define TPMOD_ITEM(type, member, kind) kind, offsetof(type, member)

static const uint8_t tpmod_layer_items[] = {
    TPMOD_ITEM(tp_layer_t, kind, TP_FIELD_U8),
    TPMOD_ITEM(tp_layer_t, activation, TP_FIELD_U8),
    TPMOD_ITEM(tp_layer_t, init, TP_FIELD_U8),
    TPMOD_ITEM(tp_layer_t, trainable, TP_FIELD_U8),
    TPMOD_ITEM(tp_layer_t, slope, TP_FIELD_F32),
    TPMOD_ITEM(tp_layer_t, kernel_h, TP_FIELD_U8),
    TPMOD_ITEM(tp_layer_t, kernel_w, TP_FIELD_U8),
    TPMOD_ITEM(tp_layer_t, stride_h, TP_FIELD_U8),
    TPMOD_ITEM(tp_layer_t, stride_w, TP_FIELD_U8),
    TPMOD_ITEM(tp_layer_t, same, TP_FIELD_U8),
    TPMOD_ITEM(tp_layer_t, select, TP_FIELD_U8),
    TPMOD_ITEM(tp_layer_t, source, TP_FIELD_U8),
    TPMOD_ITEM(tp_layer_t, other, TP_FIELD_U8),
    TPMOD_ITEM(tp_layer_t, rows, TP_FIELD_U16),
    TPMOD_ITEM(tp_layer_t, flags, TP_FIELD_U8),
    TPMOD_ITEM(tp_layer_t, h, TP_FIELD_U16),
    TPMOD_ITEM(tp_layer_t, w, TP_FIELD_U16),
    TPMOD_ITEM(tp_layer_t, c, TP_FIELD_U16),
    TPMOD_ITEM(tp_layer_t, ymax, TP_FIELD_F32),
    TPMOD_ITEM(tp_layer_t, ratio, TP_FIELD_F32),
    TPMOD_ITEM(tp_layer_t, k, TP_FIELD_U32),
    TPMOD_ITEM(tp_layer_t, k_sum, TP_FIELD_U64),
    TPMOD_ITEM(tp_layer_t, macs, TP_FIELD_U64),
    TPMOD_ITEM(tp_layer_t, pad2, TP_FIELD_U16), // of the copy: weights of one filter
    TPMOD_ITEM(tp_layer_t, again, TP_FIELD_U8),
};

static const uint8_t tpmod_info_items[] = {
    TPMOD_ITEM(tp_model_t, n_layers, TP_FIELD_U8),
    TPMOD_ITEM(tp_model_t, n_layers, TP_FIELD_U8), // inputs
    TPMOD_ITEM(tp_model_t, n_layers, TP_FIELD_U8), // outputs
    TPMOD_ITEM(tp_model_t, loss, TP_FIELD_U8),
    TPMOD_ITEM(tp_model_t, batch, TP_FIELD_U16),
    TPMOD_ITEM(tp_model_t, seed, TP_FIELD_U32),
    TPMOD_ITEM(tp_model_t, n_scale, TP_FIELD_U16),
    TPMOD_ITEM(tp_model_t, block_bytes, TP_FIELD_U32),
    TPMOD_ITEM(tp_model_t, persist_bytes, TP_FIELD_U32),
    TPMOD_ITEM(tp_model_t, h, TP_FIELD_U16),
    TPMOD_ITEM(tp_model_t, w, TP_FIELD_U16),
    TPMOD_ITEM(tp_model_t, c, TP_FIELD_U16),
    TPMOD_ITEM(tp_model_t, keep, TP_FIELD_U8),
    TPMOD_ITEM(tp_model_t, zero_skip, TP_FIELD_U8),
    TPMOD_ITEM(tp_model_t, dtype, TP_FIELD_U8),
};

#define TPMOD_READ(target, fields, v, label) \
    tpmod_read_fields(target, fields, MP_ARRAY_SIZE(fields), v, label)
// A tp_field_t ends like an item.
#define TPMOD_NEW(source, fields) \
    tpmod_new_items(source, &(fields)->offset - 1, sizeof(tp_field_t), MP_ARRAY_SIZE(fields))

static void tpmod_read_fields(void *target, const tp_field_t *f, size_t n, const mp_obj_t *v,
    const char *label) {
    for (const tp_field_t *end = f + n; f < end; f++, v++) {
        uint8_t *p = (uint8_t *)target + f->offset;
        if (f->kind == TP_FIELD_F32) {
            *(float *)p = tpmod_float(*v);
            continue;
        }
        int32_t most = f->hi != 0 ? f->hi : f->kind == TP_FIELD_U8 ? 255 : INT32_MAX;
        int32_t i = tpmod_int_in(*v, f->what, label, f->lo, most);
        if (f->kind == TP_FIELD_U8) {
            *p = (uint8_t)i;
        } else if (f->kind == TP_FIELD_U16) {
            *(uint16_t *)p = (uint16_t)i;
        } else {
            *(int32_t *)p = i;
        }
    }
}

static void tpmod_get_items(mp_obj_t *items, const void *source, const uint8_t *item,
    size_t stride, size_t n) {
    for (; n > 0; n--, item += stride, items++) {
        const uint8_t *p = (const uint8_t *)source + item[1];
        uint8_t kind = item[0] & 0x7f;
        uint32_t v = *p;
        if (kind == TP_FIELD_F32) {
            *items = tpmod_new_float(*(const float *)p);
            continue;
        }
        if (kind == TP_FIELD_U64) {
            *items = tpmod_new_uint64(*(const uint64_t *)p);
            continue;
        }
        if (kind == TP_FIELD_U16) {
            v = *(const uint16_t *)p;
        } else if (kind == TP_FIELD_U32) {
            v = *(const uint32_t *)p;
        }
        *items = mp_obj_new_int_from_uint(v);
    }
}

static mp_obj_t tpmod_new_items(const void *source, const uint8_t *item, size_t stride, size_t n) {
    mp_obj_t items[26];
    tpmod_get_items(items, source, item, stride, n);
    return mp_obj_new_tuple(n, items);
}

static void tpmod_read_optimizer(tp_opt_t *opt, mp_obj_t o) {
    const mp_obj_t *v = tpmod_items(o, MP_ARRAY_SIZE(tp_opt_fields), "optimizer");
    memset(opt, 0, sizeof(*opt));
    TPMOD_READ(opt, tp_opt_fields, v, NULL);
}

static void tpmod_read_policy(tp_policy_t *policy, mp_obj_t o) {
    const mp_obj_t *v = tpmod_items(o, MP_ARRAY_SIZE(tp_policy_fields), "policy");
    memset(policy, 0, sizeof(*policy));
    TPMOD_READ(policy, tp_policy_fields, v, NULL);
}

// --- Parsing a specification ---
// spec = ((h, w, c), loss, batch, seed, scale, offset, optimizer, policy, layers, keep,
// zero_skip, dtype): dtype is the letter of enum tp_dtype as a number, scale and offset are float32
// buffers or None, the rest the numbers of tp.h in the order of its tables. A layer starts with a
// text that names it in errors. Or: a model whose specification is meant, or (model, dtype).

enum { TPMOD_SPEC_ITEMS = 12, TPMOD_LAYER_ITEMS = 1 + TP_LAYER_SPEC_FIELDS };

static uint32_t tpmod_seed(mp_obj_t o) {
    if (!tpmod_is_int(o)) {
        tpmod_raise(&mp_type_TypeError, "seed must be an integer");
    }
    return (uint32_t)mp_obj_get_int_truncated(o);
}

// layers need room for TP_MAX_LAYERS. The pointers in spec are good until the next allocation.
static void tpmod_parse_spec(mp_obj_t o, tp_spec_t *spec, tp_layer_spec_t *layers) {
    mp_obj_t *v = &o;
    bool other = false;
    if (!TPMOD_IS(o, tpmod_model_type)) {
        size_t items = 0;
        mp_obj_get_array(o, &items, &v);
        other = items == 2;
        v = other ? v : tpmod_items(o, TPMOD_SPEC_ITEMS, "spec");
    }
    if (other || v == &o) {
        tp_model_spec(tpmod_model_get(v[0]), spec, layers);
        spec->dtype = other ? (uint8_t)mp_obj_get_int(v[1]) : spec->dtype;
        return;
    }
    memset(spec, 0, sizeof(*spec));
    const mp_obj_t *shape = tpmod_items(v[0], 3, "shape of the input");
    tpmod_read_fields(spec, tp_spec_fields, 3, shape, NULL);
    tpmod_read_fields(spec, tp_spec_fields + 3, 2, v + 1, NULL);
    spec->seed = tpmod_seed(v[3]);
    tpmod_read_optimizer(&spec->opt, v[6]);
    tpmod_read_policy(&spec->policy, v[7]);
    tpmod_read_fields(spec, tp_spec_fields + 5, 2, v + 9, NULL);
    spec->dtype = (uint8_t)tpmod_int_in(v[11], "dtype", NULL, 0, 127);
    size_t n = 0;
    mp_obj_t *rows = NULL;
    mp_obj_get_array(v[8], &n, &rows);
    if (n < 1 || n > TP_MAX_LAYERS) {
        tpmod_raise_value("number of layers %u, allowed 1..%u", (unsigned)n, TP_MAX_LAYERS);
    }
    for (size_t l = 0; l < n; l++) {
        mp_obj_t *q = tpmod_items(rows[l], TPMOD_LAYER_ITEMS, "layer");
        memset(&layers[l], 0, sizeof(layers[l]));
        TPMOD_READ(&layers[l], tp_layer_spec_fields, q + 1, mp_obj_str_get_str(q[0]));
    }
    spec->n_layers = (uint32_t)n;
    spec->layers = layers;
    if (v[4] != mp_const_none) {
        uint32_t n_offset;
        spec->scale = tpmod_floats(v[4], "input scale", MP_BUFFER_READ, &spec->n_scale);
        spec->offset = tpmod_floats(v[5], "input offset", MP_BUFFER_READ, &n_offset);
        tpmod_check_count("input offset", n_offset, spec->n_scale);
    }
}

// A fault of planning, with the name that the user's layer goes by.
static TPMOD_NORETURN void tpmod_raise_spec_fault(int err, const tp_fault_t *fault, mp_obj_t o) {
    const char *label = NULL;
    size_t items = 0;
    mp_obj_t *v = NULL;
    if (!TPMOD_IS(o, tpmod_model_type)) {
        mp_obj_get_array(o, &items, &v);
    }
    if (fault->layer >= 0 && items == TPMOD_SPEC_ITEMS) {
        size_t n = 0;
        mp_obj_t *rows = NULL;
        mp_obj_get_array(v[8], &n, &rows);
        label = mp_obj_str_get_str(tpmod_items(rows[fault->layer], TPMOD_LAYER_ITEMS, "")[0]);
    }
    tpmod_raise_fault(err, fault, label);
}

static tp_model_t *tpmod_model_of(const tpmod_model_t *self) {
    mp_buffer_info_t b;
    mp_get_buffer_raise(self->block, &b, MP_BUFFER_RW);
    tp_model_t *m = tp_model_get(b.buf, b.len);
    if (m == NULL) {
        tpmod_raise_value("the block of this model was changed from outside");
    }
    if (TP_MAPS && self->external != mp_const_none) {
        tp_fault_t fault;
        mp_get_buffer_raise(self->external, &b, MP_BUFFER_READ);
        tpmod_check(tp_model_external(m, b.buf, b.len, &fault), &fault);
    }
    return m;
}

// Model(block, spec, external=None) makes a model in the bytearray block, Model(block, None,
// external=None) takes up the one in it. external: buffer of the parameters of external layers.
static mp_obj_t tpmod_model_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw,
    const mp_obj_t *args) {
    (void)type;
    mp_arg_check_num(n_args, n_kw, 1, 3, false);
    // Everything that can fail for want of memory comes before the block is touched.
    tpmod_model_t *self = mp_obj_malloc(tpmod_model_t, (const mp_obj_type_t *)&tpmod_model_type);
    self->block = args[0];
    self->external = n_args > 2 ? args[2] : mp_const_none;
    self->spare_loss = mp_const_none;
    self->spare_loss = mp_obj_new_float(0);
    self->loss_sum = 0.0f;
    self->loss_count = 0;
    mp_buffer_info_t b;
    mp_get_buffer_raise(args[0], &b, MP_BUFFER_RW);
    tp_fault_t fault = {"", -1, 0.0f, 0.0f, 0.0f};
    if (n_args == 1 || args[1] == mp_const_none) {
        int err = tp_model_check(b.buf, b.len);
        if (err < 0) {
            // Of integers, if the head says so: the build lacks one or the other.
            bool ints = err == TP_ERR_FEATURE && ((const tp_model_t *)b.buf)->dtype != 0;
            fault.what = !TP_INTEGER && ints ? "integers" : "layers of maps";
            tpmod_raise_fault(err == TP_ERR_FEATURE ? err : TP_ERR_FORMAT, &fault, NULL);
        }
    } else {
        tp_layer_spec_t layers[TP_MAX_LAYERS];
        tp_spec_t spec;
        tpmod_parse_spec(args[1], &spec, layers);
        mp_get_buffer_raise(args[0], &b, MP_BUFFER_RW);
        int err = tp_model_init(b.buf, b.len, &spec, &fault);
        if (err < 0) {
            tpmod_raise_spec_fault(err, &fault, args[1]);
        }
    }
    tp_model_t *m = tpmod_model_of(self); // are the external parameters all there?
    if (n_args > 1 && args[1] != mp_const_none) {
        tp_model_take_external(m);
    }
    return MP_OBJ_FROM_PTR(self);
}

tp_model_t *tpmod_model_get(mp_obj_t self_in) {
    if (!TPMOD_IS(self_in, tpmod_model_type)) {
        tpmod_raise(&mp_type_TypeError, "not a model");
    }
    return tpmod_model_of(MP_OBJ_TO_PTR(self_in));
}

// Change a model where no Ctrl-C may come between.
static mp_obj_t tpmod_apply(mp_obj_t self_in, void (*change)(tp_model_t *m)) {
    tp_model_t *m = tpmod_model_of(MP_OBJ_TO_PTR(self_in));
    tpmod_hold_t hold;
    tpmod_hold(&hold);
    change(m);
    tpmod_release(&hold);
    return mp_const_none;
}

// plan(spec) -> bytes (total, persist, header, parameters, optimizer, gradients,
// activations, scratch, external)
static mp_obj_t tpmod_plan(mp_obj_t spec_in) {
    tp_layer_spec_t layers[TP_MAX_LAYERS];
    tp_spec_t spec;
    tp_plan_t plan;
    tp_fault_t fault = {"", -1, 0.0f, 0.0f, 0.0f};
    tpmod_parse_spec(spec_in, &spec, layers);
    int err = tp_plan(&spec, &plan, &fault);
    if (err < 0) {
        tpmod_raise_spec_fault(err, &fault, spec_in);
    }
    // The struct has nothing but these, in this order.
    const uint32_t *figures = (const uint32_t *)&plan;
    mp_obj_t items[sizeof(plan) / sizeof(*figures)];
    for (size_t i = 0; i < MP_ARRAY_SIZE(items); i++) {
        items[i] = mp_obj_new_int_from_uint(figures[i]);
    }
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_plan_obj, tpmod_plan);

// --- One sample ---

// y as a target. A number means the value itself where the model has a single output and squared
// error, else a class index. `value` holds it as long as the target is used.
static void tpmod_parse_target(const tp_model_t *m, mp_obj_t y, tp_target_t *target,
    float *value) {
    bool single = m->loss == TP_MEAN_SQUARED_ERROR && tp_model_outputs(m) == 1;
    target->index = 0;
    target->values = (tp_view_t){value, 1, TP_F32};
    if (y == mp_const_true || y == mp_const_false) {
        y = MP_OBJ_NEW_SMALL_INT(y == mp_const_true);
    }
    if (mp_obj_is_small_int(y)) {
        mp_int_t v = MP_OBJ_SMALL_INT_VALUE(y);
        if (single) {
            *value = (float)v;
            return;
        }
        target->values.data = NULL;
        target->index = (int32_t)v;
        if (target->index != v) {
            target->index = v < 0 ? INT32_MIN : INT32_MAX;
        }
    } else if (tpmod_is_float(y)) {
        if (!single) {
            tpmod_raise_value("y is a float: one output with mean_squared_error takes that");
        }
        *value = tpmod_float(y);
    } else if (tpmod_is_int(y)) {
        tpmod_raise_value("y is an integer of more than 30 bits");
    } else {
        tpmod_view(y, "y", &target->values);
    }
}

// What a method looks at. `value` holds a target that came as a number.
typedef struct {
    tp_view_t x;
    tp_target_t y;
    float value;
} tpmod_sample_t;

// Sample i of the buffers xs (n, inputs) and ys: n class indices or values, or (n, outputs).
static void tpmod_parse_row(const tp_model_t *m, mp_obj_t xs, mp_obj_t ys, mp_obj_t i_in,
    tpmod_sample_t *s) {
    tp_view_t y;
    mp_int_t i = mp_obj_get_int(i_in);
    tpmod_view(xs, "x", &s->x);
    tpmod_view(ys, "y", &y);
    uint32_t n_in = tp_model_inputs(m), n = s->x.count / n_in, outputs = tp_model_outputs(m);
    if (s->x.count != n * n_in) {
        tpmod_raise_value("x has %u values, not a multiple of the %u the model takes",
            (unsigned)s->x.count, (unsigned)n_in);
    }
    tpmod_check_index("sample", i, "x", n);
    s->x.data = (const uint8_t *)s->x.data + (size_t)i * n_in * tpmod_dtype_bytes(s->x.dtype);
    s->x.count = n_in;
    s->y.index = 0;
    s->y.values = (tp_view_t){NULL, outputs, y.dtype};
    bool single = m->loss == TP_MEAN_SQUARED_ERROR && outputs == 1;
    if (y.count == n && !single) {
        if (y.dtype == TP_F32) {
            tpmod_raise_value("y has floats where class indices are meant");
        }
        s->y.index = tp_view_int(&y, (uint32_t)i);
        return;
    }
    uint64_t values = (uint64_t)n * outputs;
    if (y.count != values) {
        values = m->loss != TP_MEAN_SQUARED_ERROR ? n : values < UINT32_MAX ? values : UINT32_MAX;
        tpmod_check_count("y", y.count, (uint32_t)values);
    }
    s->y.values.data = (const uint8_t *)y.data + (size_t)i * outputs * tpmod_dtype_bytes(y.dtype);
}

// The sample x, y; where i is not None, sample i of x and y.
static tp_model_t *tpmod_parse_sample(const tpmod_model_t *self, mp_obj_t x, mp_obj_t y,
    mp_obj_t i, tpmod_sample_t *s) {
    if (i == mp_const_none) {
        x = tpmod_as_buffer(x);
        y = tpmod_as_buffer(y);
    }
    tp_model_t *m = tpmod_model_of(self);
    if (i != mp_const_none) {
        tpmod_parse_row(m, x, y, i, s);
    } else {
        tpmod_view(x, "x", &s->x);
        tpmod_parse_target(m, y, &s->y, &s->value);
    }
    return m;
}

static int tpmod_train(tpmod_model_t *self, mp_obj_t x, mp_obj_t y, mp_obj_t i, float *loss) {
    tpmod_sample_t s;
    tp_model_t *m = tpmod_parse_sample(self, x, y, i, &s);
    tp_fault_t fault;
    tpmod_hold_t hold;
    tpmod_hold(&hold);
    int trained = tp_train_step(m, &s.x, &s.y, loss, &fault);
    if (trained >= 0) {
        self->loss_sum += *loss;
        self->loss_count++;
    }
    tpmod_release(&hold);
    tpmod_check(trained, &fault);
    return trained;
}

// train_step(x, y) -> loss before the update. Needs no heap: where it is locked or full, the
// loss comes in a float object that the next call overwrites.
static mp_obj_t tpmod_model_train_step(mp_obj_t self_in, mp_obj_t x, mp_obj_t y) {
    tpmod_model_t *self = MP_OBJ_TO_PTR(self_in);
    float loss;
    tpmod_train(self, x, y, mp_const_none, &loss);
    #if TPMOD_HEAP_FLOATS
    tpmod_float_t *spare = MP_OBJ_TO_PTR(self->spare_loss);
    tpmod_float_t *result = tpmod_malloc_maybe(sizeof(*result));
    if (result == NULL) {
        result = spare;
    }
    result->base.type = spare->base.type;
    result->value = (mp_float_t)loss;
    return MP_OBJ_FROM_PTR(result);
    #else
    return tpmod_new_float(loss);
    #endif
}
MP_DEFINE_CONST_FUN_OBJ_3(tpmod_model_train_step_obj, tpmod_model_train_step);

// The class that a target means: its index, or the place of its largest value.
static uint32_t tpmod_true_class(const tp_target_t *y) {
    if (y->values.data == NULL) {
        return (uint32_t)y->index;
    }
    const tp_view_t *v = &y->values;
    uint32_t best = 0;
    for (uint32_t i = 1; i < v->count; i++) {
        bool more = v->dtype == TP_F32
            ? ((const float *)v->data)[i] > ((const float *)v->data)[best]
            : tp_view_int(v, i) > tp_view_int(v, best);
        best = more ? i : best;
    }
    return best;
}

// Add one sample to `counts` and `sums`, see tpmod_model_step.
static void tpmod_test(const tpmod_model_t *self, mp_obj_t x, mp_obj_t y, mp_obj_t i,
    mp_obj_t counts_in, mp_obj_t sums_in) {
    tpmod_sample_t s;
    tp_model_t *m = tpmod_parse_sample(self, x, y, i, &s);
    uint32_t best, n_sums, n = tp_model_outputs(m);
    int32_t *counts = NULL;
    if (counts_in != mp_const_none) {
        mp_buffer_info_t b;
        mp_get_buffer_raise(counts_in, &b, MP_BUFFER_RW);
        if (b.typecode != TP_I32 || b.len != (size_t)n * n * 4u) {
            tpmod_raise_value("the counts need %u x %u i32", (unsigned)n, (unsigned)n);
        }
        counts = b.buf;
    }
    float *sums = tpmod_floats(sums_in, "sums", MP_BUFFER_RW, &n_sums);
    tpmod_check_count("sums", n_sums, 3);
    float loss;
    tp_fault_t fault;
    int err = tp_evaluate(m, &s.x, &s.y, &loss, &best, &fault);
    tpmod_check(err, &fault);
    uint32_t truth = tpmod_true_class(&s.y);
    sums[0] += loss;
    sums[1] += 1.0f;
    sums[2] += best == truth ? 1.0f : 0.0f;
    if (counts != NULL) {
        counts[truth * n + best]++;
    }
}

// step(x, y, counts=None, sums=None) -> True trained, False skipped by the policy. With sums it is
// tested instead: added to the (n, n) i32 matrix `counts` (or None), row = true class, and to
// `sums`, three f32: loss, samples, hits.
static mp_obj_t tpmod_model_step(size_t n_args, const mp_obj_t *args) {
    tpmod_model_t *self = MP_OBJ_TO_PTR(args[0]);
    if (n_args == 5 && args[4] != mp_const_none) {
        tpmod_test(self, args[1], args[2], mp_const_none, args[3], args[4]);
        return mp_const_none;
    }
    float loss;
    return mp_obj_new_bool(tpmod_train(self, args[1], args[2], mp_const_none, &loss));
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_model_step_obj, 3, 5, tpmod_model_step);

// --- Many samples ---

// Where a run over samples stands, an array("i") of the caller. Sample number `step` of `end` is
// the one at step + base, permuted in n by key and then in total by split_key where these are not
// 0. index: the one looked at last.
typedef struct {
    int32_t step, end, base, n, key, total, split_key, index;
    int32_t backoff; // longest wait
    int32_t left;    // us until run() returns
    int32_t longest; // us that one sample took
} tpmod_run_t;

// The state, and the back-off bytes: buf is NULL where there are none.
static tpmod_run_t *tpmod_run_state(const mp_obj_t *args, mp_buffer_info_t *waits) {
    mp_buffer_info_t b;
    mp_get_buffer_raise(args[1], &b, MP_BUFFER_RW);
    if (b.typecode != TP_I32 || b.len != sizeof(tpmod_run_t)) {
        tpmod_raise_value("state needs %u i32", (unsigned)(sizeof(tpmod_run_t) / 4u));
    }
    waits->buf = NULL;
    if (args[3] != mp_const_none) {
        mp_get_buffer_raise(args[3], waits, MP_BUFFER_RW);
    }
    return b.buf;
}

// Ticks of `clock`, time.ticks_us or the like, since `start`; they wrap at 2^30 or at a multiple of
// that. A native module has no other way to the time. Python code is refused as a clock: it could
// move what pointers point to.
static int32_t tpmod_ticks(mp_obj_t clock, int32_t start) {
    mp_obj_t now = mp_const_none;
    if (TPMOD_IS(clock, mp_type_fun_builtin_0)) {
        now = mp_call_function_n_kw(clock, 0, 0, NULL);
    }
    if (!mp_obj_is_small_int(now)) {
        tpmod_raise(&mp_type_TypeError, "not a clock");
    }
    return (int32_t)(((uint32_t)MP_OBJ_SMALL_INT_VALUE(now) - (uint32_t)start) & 0x3fffffffu);
}

// Is there something that only the interpreter can do, a Ctrl-C or a callback? A native module
// cannot know: there it waits for the end of the slice of time.
static bool tpmod_is_awaited(void) {
    #if MICROPY_ENABLE_SCHEDULER && !MICROPY_ENABLE_DYNRUNTIME
    return MP_STATE_VM(sched_state) == MP_SCHED_PENDING ||
        MP_STATE_THREAD(mp_pending_exception) != MP_OBJ_NULL;
    #else
    return false;
    #endif
}

// run(state, clock, waits, x, y, counts, sums): samples of the buffers x (n, inputs) and y (n class
// indices or values, or (n, outputs)), trained, or tested where sums (see step()) is not None.
// clock: time.ticks_us. waits: the back-off bytes of all samples, or None; those that wait are only
// counted. y may be a function that puts sample i into x, room for one, and returns its y. False: all
// are done, the time is over (at least one was done) or the interpreter is awaited. True: x is None,
// and sample `index` is due. A sample that raises is counted in `step`.
static mp_obj_t tpmod_model_run(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    tpmod_model_t *self = MP_OBJ_TO_PTR(args[0]);
    mp_obj_t clock = args[2], x = args[4], sums = args[7];
    bool reads = MP_OBJ_TYPE_HAS_SLOT(mp_obj_get_type(args[5]), call);
    tpmod_model_of(self);
    mp_buffer_info_t b;
    tpmod_run_t *r = tpmod_run_state(args, &b);
    uint8_t *waits = b.buf;
    int32_t start = tpmod_ticks(clock, 0), before = 0, elapsed;
    do {
        if (r->step >= r->end) {
            break;
        }
        uint32_t i = (uint32_t)r->step + (uint32_t)r->base;
        i = r->n != 0 ? tp_permute(i, (uint32_t)r->n, (uint32_t)r->key) : i;
        i = r->total != 0 ? tp_permute(i, (uint32_t)r->total, (uint32_t)r->split_key) : i;
        r->step++;
        r->index = (int32_t)i;
        if (waits != NULL) {
            tpmod_check_index("sample", (mp_int_t)i, "the back-off state", b.len);
        }
        if (waits != NULL && tp_backoff_waits(waits + i)) {
            tpmod_apply(args[0], tp_count_waited);
        } else if (x == mp_const_none) {
            return mp_const_true;
        } else {
            mp_obj_t y = args[5], row = MP_OBJ_NEW_SMALL_INT(i);
            if (reads) {
                y = mp_call_function_n_kw(y, 1, 0, &row);
                row = mp_const_none;
                // What ran there may have moved them.
                r = tpmod_run_state(args, &b);
                waits = b.buf;
            }
            if (sums != mp_const_none) {
                tpmod_test(self, x, y, row, args[6], sums);
            } else {
                float loss;
                int trained = tpmod_train(self, x, y, row, &loss);
                if (waits != NULL && i < b.len) {
                    tp_backoff_note(waits + i, trained > 0, (uint8_t)r->backoff);
                }
            }
        }
        elapsed = tpmod_ticks(clock, start);
        r->longest = elapsed - before > r->longest ? elapsed - before : r->longest;
        before = elapsed;
    } while (elapsed < r->left - r->longest && !tpmod_is_awaited());
    return mp_const_false;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_model_run_obj, 8, 8, tpmod_model_run);

// tally() -> (sum of losses, samples) of the training steps since the last call
static mp_obj_t tpmod_model_tally(mp_obj_t self_in) {
    tpmod_model_t *self = MP_OBJ_TO_PTR(self_in);
    mp_obj_t items[] = {
        tpmod_new_float(self->loss_sum), mp_obj_new_int_from_uint(self->loss_count)};
    mp_obj_t tally = mp_obj_new_tuple(2, items);
    self->loss_sum = 0.0f;
    self->loss_count = 0;
    return tally;
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_model_tally_obj, tpmod_model_tally);

// --- Where the time goes ---

#if TPMOD_PROFILE

typedef struct {
    mp_obj_t clock;
    int32_t last;
} tpmod_lap_t;

static uint32_t tpmod_lap(void *context) {
    tpmod_lap_t *lap = context;
    int32_t now = tpmod_ticks(lap->clock, 0);
    uint32_t ticks = (uint32_t)(now - lap->last) & 0x3fffffffu;
    lap->last = now;
    return ticks;
}

// Copy the part of the model that persists to the pieces, or back from there.
static void tpmod_keep(tp_model_t *m, const mp_obj_t *pieces, bool back) {
    uint8_t *at = (uint8_t *)m, *end = at + m->persist_bytes;
    for (; at < end; pieces++) {
        mp_buffer_info_t b;
        mp_get_buffer_raise(*pieces, &b, MP_BUFFER_RW);
        memcpy(back ? at : b.buf, back ? b.buf : at, b.len);
        at += b.len;
    }
}

// profile(x, y, clock, pieces, rows) -> would the policy train? Adds to rows, (n_layers + 1, 6)
// i32: ticks of the passes (tp_profile_t), MACs forward, backward. clock as in run(). pieces: list
// of bytearrays with room for the persist bytes, which hold the model meanwhile; it is as before
// in the end.
static mp_obj_t tpmod_model_profile(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    tpmod_sample_t s;
    tp_model_t *m =
        tpmod_parse_sample(MP_OBJ_TO_PTR(args[0]), args[1], args[2], mp_const_none, &s);
    tpmod_lap_t lap = {args[3], tpmod_ticks(args[3], 0)};
    mp_buffer_info_t b;
    mp_obj_t *pieces;
    size_t n;
    uint32_t bytes = 0;
    mp_obj_get_array(args[4], &n, &pieces);
    for (size_t i = 0; i < n; i++) {
        mp_get_buffer_raise(pieces[i], &b, MP_BUFFER_RW);
        bytes += (uint32_t)b.len;
    }
    tpmod_check_count("copy", bytes, m->persist_bytes);
    mp_get_buffer_raise(args[5], &b, MP_BUFFER_RW);
    tpmod_check_count("rows", (uint32_t)b.len, (m->n_layers + 1u) * sizeof(tp_profile_t));
    tp_trace_t trace = {tpmod_lap, &lap, b.buf};
    tp_fault_t fault;
    tpmod_hold_t hold;
    tpmod_hold(&hold);
    tpmod_keep(m, pieces, false);
    int trained = tp_profile(m, &s.x, &s.y, &trace, &fault);
    tpmod_keep(m, pieces, true);
    tpmod_release(&hold);
    tpmod_check(trained, &fault);
    return mp_obj_new_bool(trained);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_model_profile_obj, 6, 6, tpmod_model_profile);

#endif

// --- Predicting ---

// Forward pass; the outputs also go into the float32 buffer out, unless it is None.
static tp_model_t *tpmod_run(mp_obj_t self_in, mp_obj_t x_in, mp_obj_t out_in) {
    x_in = tpmod_as_buffer(x_in);
    tp_model_t *m = tpmod_model_of(MP_OBJ_TO_PTR(self_in));
    float *out = NULL;
    if (out_in != mp_const_none) {
        uint32_t n_out, n = tp_model_outputs(m);
        out = tpmod_floats(out_in, "out", MP_BUFFER_RW, &n_out);
        tpmod_check_count("out", n_out, n);
    }
    tp_view_t x;
    tp_fault_t fault;
    tpmod_view(x_in, "x", &x);
    int err = tp_predict(m, &x, out, &fault);
    tpmod_check(err, &fault);
    return m;
}

// predict(x, out=None) -> out
static mp_obj_t tpmod_model_predict(size_t n_args, const mp_obj_t *args) {
    mp_obj_t out = n_args > 2 ? args[2] : mp_const_none;
    if (out == mp_const_none) {
        uint32_t n = tp_model_outputs(tpmod_model_of(MP_OBJ_TO_PTR(args[0])));
        out = tpmod_tensor_zeros(TP_F32, 1, &n);
    }
    tpmod_run(args[0], args[1], out);
    return out;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_model_predict_obj, 2, 3, tpmod_model_predict);

// classify(x) -> class index
static mp_obj_t tpmod_model_classify(mp_obj_t self_in, mp_obj_t x_in) {
    tp_model_t *m = tpmod_run(self_in, x_in, mp_const_none);
    tp_target_t a = {0, {tp_layer_output(m, m->n_layers - 1u), tp_model_outputs(m), TP_F32}};
    return MP_OBJ_NEW_SMALL_INT(tpmod_true_class(&a));
}
MP_DEFINE_CONST_FUN_OBJ_2(tpmod_model_classify_obj, tpmod_model_classify);

// --- Between samples ---

static mp_obj_t tpmod_model_flush(mp_obj_t self_in) {
    return tpmod_apply(self_in, tp_flush);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_model_flush_obj, tpmod_model_flush);

static mp_obj_t tpmod_model_epoch_end(mp_obj_t self_in) {
    return tpmod_apply(self_in, tp_epoch_end);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_model_epoch_end_obj, tpmod_model_epoch_end);

static mp_obj_t tpmod_model_reset(mp_obj_t self_in, mp_obj_t seed) {
    uint32_t new_seed = tpmod_seed(seed);
    tp_model_t *m = tpmod_model_of(MP_OBJ_TO_PTR(self_in));
    tpmod_hold_t hold;
    tpmod_hold(&hold);
    tp_model_reset(m, new_seed);
    tp_model_take_external(tpmod_model_of(MP_OBJ_TO_PTR(self_in)));
    tpmod_release(&hold);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(tpmod_model_reset_obj, tpmod_model_reset);

static mp_obj_t tpmod_model_reset_counters(mp_obj_t self_in) {
    return tpmod_apply(self_in, tp_reset_counters);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_model_reset_counters_obj, tpmod_model_reset_counters);

// optimizer() -> tuple; optimizer(tuple) changes it
static mp_obj_t tpmod_model_optimizer(size_t n_args, const mp_obj_t *args) {
    tpmod_model_t *self = MP_OBJ_TO_PTR(args[0]);
    tp_opt_t opt;
    if (n_args == 1) {
        opt = tpmod_model_of(self)->opt;
        return TPMOD_NEW(&opt, tp_opt_fields);
    }
    tpmod_read_optimizer(&opt, args[1]);
    tp_fault_t fault;
    tpmod_check(tp_set_optimizer(tpmod_model_of(self), &opt, &fault), &fault);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_model_optimizer_obj, 1, 2, tpmod_model_optimizer);

// policy() -> tuple; policy(tuple) changes it
static mp_obj_t tpmod_model_policy(size_t n_args, const mp_obj_t *args) {
    tpmod_model_t *self = MP_OBJ_TO_PTR(args[0]);
    tp_policy_t policy;
    if (n_args == 1) {
        policy = tpmod_model_of(self)->policy;
        return TPMOD_NEW(&policy, tp_policy_fields);
    }
    tpmod_read_policy(&policy, args[1]);
    tp_fault_t fault;
    tpmod_check(tp_set_policy(tpmod_model_of(self), &policy, &fault), &fault);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_model_policy_obj, 1, 2, tpmod_model_policy);

// --- Looking inside ---

// info() -> (n_layers, n_in, n_out, loss, batch, seed, n_scale, block_bytes, persist_bytes, h, w,
// c, keep, zero_skip, dtype)
static mp_obj_t tpmod_model_info(mp_obj_t self_in) {
    const tp_model_t *m = tpmod_model_of(MP_OBJ_TO_PTR(self_in));
    mp_obj_t items[MP_ARRAY_SIZE(tpmod_info_items) / 2];
    tpmod_get_items(items, m, tpmod_info_items, 2, MP_ARRAY_SIZE(items));
    items[1] = mp_obj_new_int_from_uint(tp_model_inputs(m));
    items[2] = mp_obj_new_int_from_uint(tp_model_outputs(m));
    if (m->dtype == 0) {
        items[14] = MP_OBJ_NEW_SMALL_INT(TP_F32);
    }
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_model_info_obj, tpmod_model_info);

// counters() -> (seen, trained, skipped, waited, MACs executed: forward, backward, backward
// without zero skipping; MACs of one sample of dense full training: forward, backward)
static mp_obj_t tpmod_model_counters(mp_obj_t self_in) {
    const tp_model_t *m = tpmod_model_of(MP_OBJ_TO_PTR(self_in));
    // Six stand in the head in this order.
    uint64_t values[9];
    memcpy(values, &m->seen, 6 * sizeof(values[0]));
    values[6] = values[5];
    values[5] = tp_backward_macs(m);
    tp_macs_t dense = tp_dense_macs(m);
    values[7] = dense.forward;
    values[8] = dense.backward;
    mp_obj_t items[MP_ARRAY_SIZE(values)];
    for (size_t i = 0; i < MP_ARRAY_SIZE(values); i++) {
        items[i] = tpmod_new_uint64(values[i]);
    }
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_model_counters_obj, tpmod_model_counters);

static uint32_t tpmod_layer_index(const tp_model_t *m, mp_obj_t l_in) {
    return tpmod_check_index("layer", mp_obj_get_int(l_in), "the model", m->n_layers);
}

// layer(l) -> the numbers of tpmod_layer_items
static mp_obj_t tpmod_model_layer(mp_obj_t self_in, mp_obj_t l_in) {
    tp_model_t *m = tpmod_model_of(MP_OBJ_TO_PTR(self_in));
    uint32_t l = tpmod_layer_index(m, l_in);
    tp_layer_t y = *tp_model_layer(m, l);
    y.pad2 = (uint16_t)tp_layer_fan_in(m, l);
    return tpmod_new_items(&y, tpmod_layer_items, 2, MP_ARRAY_SIZE(tpmod_layer_items) / 2);
}
MP_DEFINE_CONST_FUN_OBJ_2(tpmod_model_layer_obj, tpmod_model_layer);

// weights(l, what=0) -> Tensor of layer l: 0 its weights (filters, K), of windows (filters, height,
// width, channels), depthwise without the last, of an external layer that trains some filters only
// these; 1 its bias; 2 what predict() left at its output; 3 the errors that the last training step
// kept
static mp_obj_t tpmod_model_weights(size_t n_args, const mp_obj_t *args) {
    tpmod_model_t *self = MP_OBJ_TO_PTR(args[0]);
    tp_model_t *m = tpmod_model_of(self);
    uint32_t l = tpmod_layer_index(m, args[1]), n = tp_layer_fan_in(m, l);
    mp_int_t what = n_args > 2 ? mp_obj_get_int(args[2]) : 0;
    const tp_layer_t *t = tp_model_layer(m, l);
    if (what < 2) {
        const void *p = what == 0 ? tp_layer_weights(m, l) : tp_layer_bias(m, l);
        if (p == NULL) {
            tpmod_raise_value("this layer has no weights here");
        }
        uint32_t dims[] = {t->c, t->kernel_h, t->kernel_w, 0}, ndim = 1;
        if (what == 0) {
            bool some = TP_MAPS && (t->flags & TP_ROW_EXTERNAL) != 0 && t->rows > 0;
            dims[0] = some ? t->rows : t->c;
            ndim = t->kind == TP_LAYER_CONV ? 4 : 3;
        }
        if (what == 0 && (!TP_MAPS || t->kind == TP_LAYER_DENSE)) {
            dims[1] = n;
            ndim = 2;
        } else if (what == 0) {
            dims[3] = n / (dims[1] * dims[2]);
        }
        mp_obj_t owner = self->block;
        uintptr_t at = (uintptr_t)p - (uintptr_t)m;
        if (TP_MAPS && at >= m->block_bytes) {
            mp_buffer_info_t b;
            owner = self->external;
            mp_get_buffer_raise(owner, &b, MP_BUFFER_READ);
            at = (uintptr_t)p - (uintptr_t)b.buf;
        }
        uint8_t dtype = m->dtype == 0 ? TP_F32 : what == 0 ? m->dtype : TP_I32;
        return tpmod_tensor_new(owner, (uint32_t)at, dtype, ndim, dims);
    }
    // Of an integer model the output is float32 after predict(), d has 32 bits.
    uint8_t dtype = m->dtype == 0 || (what == 2 && l + 1u == m->n_layers) ? TP_F32
        : what == 2                                                       ? m->dtype
                                                                          : TP_I32;
    const uint32_t dims[] = {t->h, t->w, t->c}, bytes = 4u * t->h * t->w * t->c;
    uint32_t at = what == 2 ? t->off_act : t->off_d;
    bool taken = what != 2 && !m->keep;
    for (uint32_t q = l + 1u; q < m->n_layers && what == 2; q++) {
        const tp_layer_t *y = tp_model_layer(m, q);
        taken = taken || (y->off_act < at + bytes && at < y->off_act + 4u * y->h * y->w * y->c);
    }
    if (taken || at == 0) {
        tpmod_raise_value(at == 0 ? "no layer up to this one trains"
                                  : "its memory is shared: make the model with keep=True");
    }
    bool vector = t->h == 1 && t->w == 1;
    return tpmod_tensor_new(self->block, at, dtype, vector ? 1 : 3, vector ? dims + 2 : dims);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_model_weights_obj, 2, 3, tpmod_model_weights);

#if TP_INTEGER

// exponents(l) -> of layer l (-1: the input) those of its output, weights and errors
static mp_obj_t tpmod_model_exponents(mp_obj_t self_in, mp_obj_t l_in) {
    tp_model_t *m = tpmod_model_of(MP_OBJ_TO_PTR(self_in));
    uint32_t r = l_in == MP_OBJ_NEW_SMALL_INT(-1) ? 0 : tpmod_layer_index(m, l_in) + 1u;
    if (m->dtype == 0) {
        tpmod_raise_value("a model of f32 has no exponents");
    }
    const tp_range_t *q = tp_model_ranges(m) + r;
    mp_obj_t items[] = {
        MP_OBJ_NEW_SMALL_INT(q->e_a), MP_OBJ_NEW_SMALL_INT(q->e_w), MP_OBJ_NEW_SMALL_INT(q->e_d)};
    return mp_obj_new_tuple(3, items);
}
MP_DEFINE_CONST_FUN_OBJ_2(tpmod_model_exponents_obj, tpmod_model_exponents);

#endif

#if TP_INTEGER || TP_MAPS

// floats(l, w, b, put): float32 copies of weights and biases of layer l into the buffers w and b,
// or with put from there into the model; either may be None
static mp_obj_t tpmod_model_floats(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    tp_model_t *m = tpmod_model_of(MP_OBJ_TO_PTR(args[0]));
    uint32_t l = tpmod_layer_index(m, args[1]), c = tp_model_layer(m, l)->c;
    bool put = mp_obj_is_true(args[4]);
    float *parts[2] = {NULL, NULL};
    for (size_t i = 0; i < 2; i++) {
        if (args[2 + i] != mp_const_none) {
            uint32_t n;
            parts[i] = tpmod_floats(args[2 + i], i == 0 ? "weights" : "bias",
                put ? MP_BUFFER_READ : MP_BUFFER_RW, &n);
            tpmod_check_count(i == 0 ? "weights" : "bias", n,
                i == 0 ? (size_t)tp_layer_fan_in(m, l) * c : c);
        }
    }
    tpmod_hold_t hold;
    tpmod_hold(&hold);
    int err =
        put ? tp_set_weights(m, l, parts[0], parts[1]) : tp_get_weights(m, l, parts[0], parts[1]);
    tpmod_release(&hold);
    if (err < 0) {
        tpmod_raise_value(err == TP_ERR_NONFINITE ? "NaN or infinity in the weights"
                                                  : "this layer has no weights here");
    }
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_model_floats_obj, 5, 5, tpmod_model_floats);

#endif

// scale() -> Tensor (2, n): input scale and offset; None where the model has none
static mp_obj_t tpmod_model_scale(mp_obj_t self_in) {
    tpmod_model_t *self = MP_OBJ_TO_PTR(self_in);
    tp_model_t *m = tpmod_model_of(self);
    if (m->n_scale == 0) {
        return mp_const_none;
    }
    const uint32_t dims[] = {2, m->n_scale};
    uint32_t at = sizeof(tp_model_t) + m->n_layers * sizeof(tp_layer_t);
    return tpmod_tensor_new(self->block, at, TP_F32, 2, dims);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_model_scale_obj, tpmod_model_scale);

static void tpmod_model_attr(mp_obj_t self_in, qstr attr, mp_obj_t *dest) {
    tpmod_model_t *self = MP_OBJ_TO_PTR(self_in);
    if (dest[0] != MP_OBJ_NULL) {
        return; // attributes cannot be set
    }
    if (attr == MP_QSTR_block) {
        dest[0] = self->block;
    } else if (attr == MP_QSTR_external) {
        dest[0] = self->external;
    } else {
        dest[1] = MP_OBJ_SENTINEL; // look among the methods
    }
}

// --- Checkpoint files ---

// file_head(model) -> the bytes before the payload
static mp_obj_t tpmod_file_head(mp_obj_t model_in) {
    uint8_t head[TP_FILE_HEAD];
    tp_file_head(tpmod_model_get(model_in), head);
    return mp_obj_new_bytes(head, sizeof(head));
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_file_head_obj, tpmod_file_head);

// file_check(start) -> (payload bytes, crc, bytes of the block: 0 if damaged), None if this is not
// the start of a model file. 256 bytes of the file are enough.
static mp_obj_t tpmod_file_check(mp_obj_t start_in) {
    mp_buffer_info_t b;
    mp_get_buffer_raise(start_in, &b, MP_BUFFER_READ);
    uint32_t payload, crc;
    if (tp_file_head_check(b.buf, b.len, &payload, &crc) < 0) {
        return mp_const_none;
    }
    const uint8_t *first = (const uint8_t *)b.buf + TP_FILE_HEAD;
    uint32_t block = tp_file_block_bytes(first, b.len - TP_FILE_HEAD);
    mp_obj_t items[] = {mp_obj_new_int_from_uint(payload), mp_obj_new_int_from_uint(crc),
        mp_obj_new_int_from_uint(block)};
    return mp_obj_new_tuple(3, items);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_file_check_obj, tpmod_file_check);

// --- Session ---

typedef struct {
    mp_obj_base_t base;
    mp_obj_t model;
} tpmod_session_t;

static mp_obj_t tpmod_session_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw,
    const mp_obj_t *args) {
    (void)type;
    (void)args;
    mp_arg_check_num(n_args, n_kw, 0, 0, false);
    tpmod_session_t *self =
        mp_obj_malloc(tpmod_session_t, (const mp_obj_type_t *)&tpmod_session_type);
    self->model = mp_const_none;
    return MP_OBJ_FROM_PTR(self);
}

// use(model): a Model, an object that has one as its attribute _m, or None
static mp_obj_t tpmod_session_use(mp_obj_t self_in, mp_obj_t model) {
    tpmod_session_t *self = MP_OBJ_TO_PTR(self_in);
    if (model != mp_const_none && !TPMOD_IS(model, tpmod_model_type)) {
        mp_obj_t dest[2] = {MP_OBJ_NULL, MP_OBJ_NULL};
        mp_load_method_maybe(model, MP_QSTR__m, dest);
        if (dest[0] == MP_OBJ_NULL || dest[1] != MP_OBJ_NULL ||
            !TPMOD_IS(dest[0], tpmod_model_type)) {
            tpmod_raise(&mp_type_TypeError, "use() takes a model, not %q",
                (qstr)mp_obj_get_type(model)->name);
        }
        model = dest[0];
    }
    self->model = model;
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(tpmod_session_use_obj, tpmod_session_use);

static mp_obj_t tpmod_session_train_step(mp_obj_t self_in, mp_obj_t x, mp_obj_t y) {
    tpmod_session_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->model == mp_const_none) {
        tpmod_raise(&mp_type_RuntimeError, "no model to train: call tinyprop.use(model) first");
    }
    return tpmod_model_train_step(self->model, x, y);
}
MP_DEFINE_CONST_FUN_OBJ_3(tpmod_session_train_step_obj, tpmod_session_train_step);

// --- The types ---

#if MICROPY_ENABLE_DYNRUNTIME

// Not static: the linker of native modules wants variables to be global.
tpmod_type_t tpmod_model_type, tpmod_session_type;
mp_map_elem_t tpmod_model_locals_table[0 TPMOD_MODEL_METHODS(TPMOD_ONE)];
static MP_DEFINE_CONST_DICT(tpmod_model_locals, tpmod_model_locals_table);
mp_map_elem_t tpmod_session_locals_table[0 TPMOD_SESSION_METHODS(TPMOD_ONE)];
static MP_DEFINE_CONST_DICT(tpmod_session_locals, tpmod_session_locals_table);

void tpmod_model_init(void) {
    mp_map_elem_t *row = tpmod_model_locals_table;
    TPMOD_MODEL_METHODS(TPMOD_NATIVE_ROW)
    tpmod_type_t *t = &tpmod_model_type;
    t->base.type = &mp_type_type;
    t->name = MP_QSTR_Model;
    MP_OBJ_TYPE_SET_SLOT(t, make_new, tpmod_model_make_new, 0);
    MP_OBJ_TYPE_SET_SLOT(t, attr, tpmod_model_attr, 1);
    MP_OBJ_TYPE_SET_SLOT(t, locals_dict, (void *)&tpmod_model_locals, 2);
    row = tpmod_session_locals_table;
    TPMOD_SESSION_METHODS(TPMOD_NATIVE_ROW)
    t = &tpmod_session_type;
    t->base.type = &mp_type_type;
    t->name = MP_QSTR_Session;
    MP_OBJ_TYPE_SET_SLOT(t, make_new, tpmod_session_make_new, 0);
    MP_OBJ_TYPE_SET_SLOT(t, locals_dict, (void *)&tpmod_session_locals, 1);
}

#else

static const mp_rom_map_elem_t tpmod_model_locals_table[] = {TPMOD_MODEL_METHODS(TPMOD_ROM_ROW)};
static MP_DEFINE_CONST_DICT(tpmod_model_locals, tpmod_model_locals_table);

MP_DEFINE_CONST_OBJ_TYPE(tpmod_model_type, MP_QSTR_Model, MP_TYPE_FLAG_NONE, make_new,
    tpmod_model_make_new, attr, tpmod_model_attr, locals_dict, &tpmod_model_locals);

static const mp_rom_map_elem_t tpmod_session_locals_table[] = {
    TPMOD_SESSION_METHODS(TPMOD_ROM_ROW)};
static MP_DEFINE_CONST_DICT(tpmod_session_locals, tpmod_session_locals_table);

MP_DEFINE_CONST_OBJ_TYPE(tpmod_session_type, MP_QSTR_Session, MP_TYPE_FLAG_NONE, make_new,
    tpmod_session_make_new, locals_dict, &tpmod_session_locals);

#endif
