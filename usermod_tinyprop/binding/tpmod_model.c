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
    mp_obj_t spare_loss; // returned where the heap has no room for a new float
    float loss_sum;      // since the last tally()
    uint32_t loss_count;
} tpmod_model_t;

// A float object of the runtime (private to its objfloat.c).
typedef struct {
    mp_obj_base_t base;
    mp_float_t value;
} tpmod_float_t;

// --- Parsing a specification ---
// spec = (n_in, loss, batch, seed, scale, offset, optimizer, policy, layers): scale and offset
// are float32 buffers or None, the rest the numbers of tp.h in the order of its structs.

static tp_opt_t tpmod_parse_optimizer(mp_obj_t o) {
    mp_obj_t *v = tpmod_items(o, 8, "optimizer");
    tp_opt_t opt;
    memset(&opt, 0, sizeof(opt));
    opt.kind = (uint8_t)tpmod_int_in(v[0], "optimizer kind", -1, TP_SGD, TP_ADAM);
    opt.rows = (uint8_t)tpmod_int_in(v[1], "optimizer rows", -1, TP_ROWS_LAZY, TP_ROWS_EXACT);
    opt.lr = tpmod_float(v[2]);
    opt.momentum = tpmod_float(v[3]);
    opt.weight_decay = tpmod_float(v[4]);
    opt.beta1 = tpmod_float(v[5]);
    opt.beta2 = tpmod_float(v[6]);
    opt.eps = tpmod_float(v[7]);
    return opt;
}

static mp_obj_t tpmod_new_optimizer(const tp_opt_t *opt) {
    mp_obj_t items[] = {
        MP_OBJ_NEW_SMALL_INT(opt->kind),
        MP_OBJ_NEW_SMALL_INT(opt->rows),
        tpmod_new_float(opt->lr),
        tpmod_new_float(opt->momentum),
        tpmod_new_float(opt->weight_decay),
        tpmod_new_float(opt->beta1),
        tpmod_new_float(opt->beta2),
        tpmod_new_float(opt->eps),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}

static tp_policy_t tpmod_parse_policy(mp_obj_t o) {
    mp_obj_t *v = tpmod_items(o, 16, "policy");
    tp_policy_t p;
    memset(&p, 0, sizeof(p));
    p.kind = (uint8_t)tpmod_int_in(v[0], "policy kind", -1, TP_FULL, TP_TINYPROPV2);
    p.beta_mode = (uint8_t)tpmod_int_in(v[1], "beta_mode", -1, 0, 1);
    p.dense_output = (uint8_t)tpmod_int_in(v[2], "dense_output", -1, 0, 1);
    p.backoff = (uint8_t)tpmod_int_in(v[3], "backoff", -1, 0, TP_BACKOFF_MAX);
    p.ratio = tpmod_float(v[4]);
    p.s_min = tpmod_float(v[5]);
    p.s_max = tpmod_float(v[6]);
    p.zeta = tpmod_float(v[7]);
    p.d_min = tpmod_float(v[8]);
    p.d_max = tpmod_float(v[9]);
    p.threshold = tpmod_float(v[10]);
    p.ymax_decay = tpmod_float(v[11]);
    p.k = (uint32_t)tpmod_int_in(v[12], "k", -1, 0, TP_MAX_UNITS);
    p.warmup = (uint32_t)tpmod_int_in(v[13], "warmup", -1, 0, INT32_MAX);
    p.max_skips = (uint32_t)tpmod_int_in(v[14], "max_skips", -1, 0, INT32_MAX);
    p.rescale = (uint8_t)tpmod_int_in(v[15], "rescale", -1, 0, 1);
    return p;
}

static mp_obj_t tpmod_new_policy(const tp_policy_t *p) {
    mp_obj_t items[] = {
        MP_OBJ_NEW_SMALL_INT(p->kind),
        MP_OBJ_NEW_SMALL_INT(p->beta_mode),
        MP_OBJ_NEW_SMALL_INT(p->dense_output),
        MP_OBJ_NEW_SMALL_INT(p->backoff),
        tpmod_new_float(p->ratio),
        tpmod_new_float(p->s_min),
        tpmod_new_float(p->s_max),
        tpmod_new_float(p->zeta),
        tpmod_new_float(p->d_min),
        tpmod_new_float(p->d_max),
        tpmod_new_float(p->threshold),
        tpmod_new_float(p->ymax_decay),
        mp_obj_new_int_from_uint(p->k),
        mp_obj_new_int_from_uint(p->warmup),
        mp_obj_new_int_from_uint(p->max_skips),
        MP_OBJ_NEW_SMALL_INT(p->rescale),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}

enum { TPMOD_SPEC_ITEMS = 9, TPMOD_LAYER_ITEMS = 7 };

// layers need room for TP_MAX_LAYERS. The pointers in spec are good until the next allocation.
static void tpmod_parse_spec(mp_obj_t o, tp_spec_t *spec, tp_layer_spec_t *layers) {
    mp_obj_t *v = tpmod_items(o, TPMOD_SPEC_ITEMS, "spec");
    memset(spec, 0, sizeof(*spec));
    spec->n_in = (uint32_t)tpmod_int_in(v[0], "input size", -1, 1, TP_MAX_UNITS);
    spec->loss = (uint8_t)tpmod_int_in(v[1], "loss", -1, 0, TP_MEAN_SQUARED_ERROR);
    spec->batch = (uint32_t)tpmod_int_in(v[2], "batch_size", -1, 1, 65535);
    if (!tpmod_is_int(v[3])) {
        tpmod_raise(&mp_type_TypeError, "seed must be an integer");
    }
    spec->seed = (uint32_t)mp_obj_get_int_truncated(v[3]);
    spec->opt = tpmod_parse_optimizer(v[6]);
    spec->policy = tpmod_parse_policy(v[7]);
    size_t n = 0;
    mp_obj_t *rows = NULL;
    mp_obj_get_array(v[8], &n, &rows);
    if (n < 1 || n > TP_MAX_LAYERS) {
        tpmod_raise(&mp_type_ValueError, "number of layers %u, allowed 1..%u", (unsigned)n,
            TP_MAX_LAYERS);
    }
    for (size_t l = 0; l < n; l++) {
        mp_obj_t *q = tpmod_items(rows[l], TPMOD_LAYER_ITEMS, "layer");
        int32_t place = tpmod_int_in(q[6], "place", -1, 0, INT32_MAX);
        layers[l].kind = (uint8_t)tpmod_int_in(q[0], "layer kind", place, 1, TP_LAYER_DENSE);
        layers[l].activation = (uint8_t)tpmod_int_in(q[1], "activation", place, 0, TP_TANH);
        layers[l].init = (uint8_t)tpmod_int_in(q[2], "init", place, 0, TP_INIT_ZEROS);
        layers[l].trainable = (uint8_t)tpmod_int_in(q[3], "trainable", place, 0, TP_TRAIN_ALL);
        layers[l].units = (uint32_t)tpmod_int_in(q[4], "units", place, 1, TP_MAX_UNITS);
        layers[l].slope = tpmod_float(q[5]);
    }
    spec->n_layers = (uint32_t)n;
    spec->layers = layers;
    if (v[4] != mp_const_none) {
        uint32_t n_offset;
        spec->scale = tpmod_floats(v[4], "input scale", MP_BUFFER_READ, &spec->n_scale);
        spec->offset = tpmod_floats(v[5], "input offset", MP_BUFFER_READ, &n_offset);
        if (n_offset != spec->n_scale) {
            tpmod_raise(&mp_type_ValueError, "input scale has %u values, input offset %u",
                (unsigned)spec->n_scale, (unsigned)n_offset);
        }
    }
}

// A fault of planning, with the position that the user gave the layer.
static TPMOD_NORETURN void tpmod_raise_spec_fault(int err, const tp_fault_t *fault, mp_obj_t o) {
    int32_t place = -1;
    if (fault->layer >= 0) {
        size_t n = 0;
        mp_obj_t *rows = NULL;
        mp_obj_get_array(tpmod_items(o, TPMOD_SPEC_ITEMS, "spec")[8], &n, &rows);
        place = (int32_t)mp_obj_get_int(tpmod_items(rows[fault->layer], TPMOD_LAYER_ITEMS, "")[6]);
    }
    tpmod_raise_fault(err, fault, place);
}

// plan(spec) -> bytes (total, persist, header, parameters, optimizer, gradients, activations,
// scratch)
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
    const uint32_t figures[] = {plan.total, plan.persist, plan.header, plan.parameters,
        plan.optimizer, plan.gradients, plan.activations, plan.scratch};
    mp_obj_t items[MP_ARRAY_SIZE(figures)];
    for (size_t i = 0; i < MP_ARRAY_SIZE(figures); i++) {
        items[i] = mp_obj_new_int_from_uint(figures[i]);
    }
    return mp_obj_new_tuple(MP_ARRAY_SIZE(figures), items);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_plan_obj, tpmod_plan);

// Model(block, spec) makes a model in the bytearray block, Model(block) takes up the one in it.
static mp_obj_t tpmod_model_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw,
    const mp_obj_t *args) {
    (void)type;
    mp_arg_check_num(n_args, n_kw, 1, 2, false);
    // Everything that can fail for want of memory comes before the block is touched.
    tpmod_model_t *self = mp_obj_malloc(tpmod_model_t, (const mp_obj_type_t *)&tpmod_model_type);
    self->block = args[0];
    self->spare_loss = mp_const_none;
    self->spare_loss = mp_obj_new_float(0);
    self->loss_sum = 0.0f;
    self->loss_count = 0;
    mp_buffer_info_t b;
    mp_get_buffer_raise(args[0], &b, MP_BUFFER_RW);
    tp_fault_t fault = {"", -1, 0.0f, 0.0f, 0.0f};
    if (n_args == 1) {
        int err = tp_model_check(b.buf, b.len);
        if (err < 0) {
            tpmod_raise_fault(TP_ERR_FORMAT, &fault, -1);
        }
        return MP_OBJ_FROM_PTR(self);
    }
    tp_layer_spec_t layers[TP_MAX_LAYERS];
    tp_spec_t spec;
    tpmod_parse_spec(args[1], &spec, layers);
    mp_get_buffer_raise(args[0], &b, MP_BUFFER_RW);
    int err = tp_model_init(b.buf, b.len, &spec, &fault);
    if (err < 0) {
        tpmod_raise_spec_fault(err, &fault, args[1]);
    }
    return MP_OBJ_FROM_PTR(self);
}

static tp_model_t *tpmod_model_of(const tpmod_model_t *self) {
    mp_buffer_info_t b;
    mp_get_buffer_raise(self->block, &b, MP_BUFFER_RW);
    tp_model_t *m = tp_model_get(b.buf, b.len);
    if (m == NULL) {
        tpmod_raise(&mp_type_ValueError, "the block of this model was changed from outside");
    }
    return m;
}

tp_model_t *tpmod_model_get(mp_obj_t self_in) {
    if (!TPMOD_IS(self_in, tpmod_model_type)) {
        tpmod_raise(&mp_type_TypeError, "not a model");
    }
    return tpmod_model_of(MP_OBJ_TO_PTR(self_in));
}

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
            tpmod_raise(&mp_type_ValueError,
                "y is a float: only a model with one output and mean_squared_error takes one");
        }
        *value = tpmod_float(y);
    } else if (tpmod_is_int(y)) {
        tpmod_raise(&mp_type_ValueError, "y is an integer of more than 30 bits");
    } else {
        tpmod_view(y, "y", &target->values);
    }
}

// Sample i of the buffers xs (n, inputs) and ys: n class indices or values, or (n, outputs).
static void tpmod_parse_row(const tp_model_t *m, mp_obj_t xs, mp_obj_t ys, mp_obj_t i_in,
    tp_view_t *x, tp_target_t *target) {
    tp_view_t y;
    mp_int_t i = mp_obj_get_int(i_in);
    tpmod_view(xs, "x", x);
    tpmod_view(ys, "y", &y);
    uint32_t n = x->count / m->n_in, outputs = tp_model_outputs(m);
    if (x->count != n * m->n_in) {
        tpmod_raise(&mp_type_ValueError,
            "x has %u values, not a multiple of the %u the model takes", (unsigned)x->count,
            (unsigned)m->n_in);
    }
    if (i < 0 || (mp_uint_t)i >= n) {
        tpmod_raise(&mp_type_IndexError, "sample %d, x has %u", (int)i, (unsigned)n);
    }
    x->data = (const uint8_t *)x->data + (size_t)i * m->n_in * tpmod_dtype_bytes(x->dtype);
    x->count = m->n_in;
    target->index = 0;
    target->values = (tp_view_t){NULL, outputs, y.dtype};
    bool single = m->loss == TP_MEAN_SQUARED_ERROR && outputs == 1;
    if (y.count == n && !single) {
        if (y.dtype == TP_F32) {
            tpmod_raise(&mp_type_ValueError, "y has floats where class indices are meant");
        }
        target->index = tpmod_int_at(&y, (uint32_t)i);
        return;
    }
    if (y.count != (uint64_t)n * outputs) {
        tpmod_raise(&mp_type_ValueError,
            "y has %u values, %u samples of a model with %u outputs have %u or %u",
            (unsigned)y.count, (unsigned)n, (unsigned)outputs, (unsigned)n,
            (unsigned)(n * outputs));
    }
    target->values.data =
        (const uint8_t *)y.data + (size_t)i * outputs * tpmod_dtype_bytes(y.dtype);
}

static int tpmod_train(tpmod_model_t *self, tp_model_t *m, const tp_view_t *x,
    const tp_target_t *y, float *loss) {
    tp_fault_t fault;
    tpmod_hold_t hold;
    tpmod_hold(&hold);
    int trained = tp_train_step(m, x, y, loss, &fault);
    if (trained >= 0) {
        self->loss_sum += *loss;
        self->loss_count++;
    }
    tpmod_release(&hold);
    if (trained < 0) {
        tpmod_raise_fault(trained, &fault, -1);
    }
    return trained;
}

static int tpmod_train_sample(tpmod_model_t *self, mp_obj_t x_in, mp_obj_t y_in, float *loss) {
    x_in = tpmod_as_buffer(x_in);
    y_in = tpmod_as_buffer(y_in);
    tp_model_t *m = tpmod_model_of(self);
    tp_view_t x;
    tp_target_t y;
    float value;
    tpmod_view(x_in, "x", &x);
    tpmod_parse_target(m, y_in, &y, &value);
    return tpmod_train(self, m, &x, &y, loss);
}

// train_step(x, y) -> loss before the update. Needs no heap: where it is locked or full, the
// loss comes in a float object that the next call overwrites.
static mp_obj_t tpmod_model_train_step(mp_obj_t self_in, mp_obj_t x, mp_obj_t y) {
    tpmod_model_t *self = MP_OBJ_TO_PTR(self_in);
    float loss;
    tpmod_train_sample(self, x, y, &loss);
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

// step(x, y) -> True trained, False skipped by the policy
static mp_obj_t tpmod_model_step(mp_obj_t self_in, mp_obj_t x, mp_obj_t y) {
    float loss;
    return mp_obj_new_bool(tpmod_train_sample(MP_OBJ_TO_PTR(self_in), x, y, &loss) != 0);
}
MP_DEFINE_CONST_FUN_OBJ_3(tpmod_model_step_obj, tpmod_model_step);

// step_row(xs, ys, i): the same with sample i of xs and ys
static mp_obj_t tpmod_model_step_row(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    tpmod_model_t *self = MP_OBJ_TO_PTR(args[0]);
    tp_model_t *m = tpmod_model_of(self);
    tp_view_t x;
    tp_target_t y;
    float loss;
    tpmod_parse_row(m, args[1], args[2], args[3], &x, &y);
    return mp_obj_new_bool(tpmod_train(self, m, &x, &y, &loss) != 0);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_model_step_row_obj, 4, 4, tpmod_model_step_row);

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
            : tpmod_int_at(v, i) > tpmod_int_at(v, best);
        best = more ? i : best;
    }
    return best;
}

// Add one sample to the (n, n) i32 matrix `counts` (or None), row = true class, and to `sums`,
// three f32: loss, samples, hits.
static mp_obj_t tpmod_test_sample(tp_model_t *m, const tp_view_t *x, const tp_target_t *y,
    mp_obj_t counts_in, mp_obj_t sums_in) {
    uint32_t best, n_sums, n = tp_model_outputs(m);
    int32_t *counts = NULL;
    if (counts_in != mp_const_none) {
        mp_buffer_info_t b;
        mp_get_buffer_raise(counts_in, &b, MP_BUFFER_RW);
        if (b.typecode != TP_I32 || b.len != (size_t)n * n * 4u) {
            tpmod_raise(&mp_type_ValueError, "the counts need %u x %u i32", (unsigned)n,
                (unsigned)n);
        }
        counts = b.buf;
    }
    float *sums = tpmod_floats(sums_in, "sums", MP_BUFFER_RW, &n_sums);
    if (n_sums != 3) {
        tpmod_raise(&mp_type_ValueError, "sums has %u values, expected 3", (unsigned)n_sums);
    }
    float loss;
    tp_fault_t fault;
    int err = tp_evaluate(m, x, y, &loss, &best, &fault);
    if (err < 0) {
        tpmod_raise_fault(err, &fault, -1);
    }
    uint32_t truth = tpmod_true_class(y);
    sums[0] += loss;
    sums[1] += 1.0f;
    sums[2] += best == truth ? 1.0f : 0.0f;
    if (counts != NULL) {
        counts[truth * n + best]++;
    }
    return MP_OBJ_NEW_SMALL_INT(best);
}

// test(x, y, counts, sums) -> class index of the largest output
static mp_obj_t tpmod_model_test(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    mp_obj_t x_in = tpmod_as_buffer(args[1]), y_in = tpmod_as_buffer(args[2]);
    tp_model_t *m = tpmod_model_of(MP_OBJ_TO_PTR(args[0]));
    tp_view_t x;
    tp_target_t y;
    float value;
    tpmod_view(x_in, "x", &x);
    tpmod_parse_target(m, y_in, &y, &value);
    return tpmod_test_sample(m, &x, &y, args[3], args[4]);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_model_test_obj, 5, 5, tpmod_model_test);

// test_row(xs, ys, i, counts, sums)
static mp_obj_t tpmod_model_test_row(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    tp_model_t *m = tpmod_model_of(MP_OBJ_TO_PTR(args[0]));
    tp_view_t x;
    tp_target_t y;
    tpmod_parse_row(m, args[1], args[2], args[3], &x, &y);
    return tpmod_test_sample(m, &x, &y, args[4], args[5]);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_model_test_row_obj, 6, 6, tpmod_model_test_row);

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

// predict(x, out=None) -> out
static mp_obj_t tpmod_model_predict(size_t n_args, const mp_obj_t *args) {
    tpmod_model_t *self = MP_OBJ_TO_PTR(args[0]);
    mp_obj_t x_in = tpmod_as_buffer(args[1]), out_in = n_args > 2 ? args[2] : mp_const_none;
    uint32_t n = tp_model_outputs(tpmod_model_of(self)), n_out;
    if (out_in == mp_const_none) {
        out_in = tpmod_tensor_zeros(TP_F32, 1, &n);
    }
    tp_model_t *m = tpmod_model_of(self);
    float *out = tpmod_floats(out_in, "out", MP_BUFFER_RW, &n_out);
    if (n_out != n) {
        tpmod_raise(&mp_type_ValueError, "out has %u values, the model has %u outputs",
            (unsigned)n_out, (unsigned)n);
    }
    tp_view_t x;
    tp_fault_t fault;
    tpmod_view(x_in, "x", &x);
    int err = tp_predict(m, &x, out, &fault);
    if (err < 0) {
        tpmod_raise_fault(err, &fault, -1);
    }
    return out_in;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_model_predict_obj, 2, 3, tpmod_model_predict);

// classify(x) -> class index
static mp_obj_t tpmod_model_classify(mp_obj_t self_in, mp_obj_t x_in) {
    x_in = tpmod_as_buffer(x_in);
    tp_model_t *m = tpmod_model_of(MP_OBJ_TO_PTR(self_in));
    tp_view_t x;
    tp_fault_t fault;
    tpmod_view(x_in, "x", &x);
    int err = tp_predict(m, &x, NULL, &fault);
    if (err < 0) {
        tpmod_raise_fault(err, &fault, -1);
    }
    tp_target_t a = {0, {tp_layer_output(m, m->n_layers - 1u), tp_model_outputs(m), TP_F32}};
    return MP_OBJ_NEW_SMALL_INT(tpmod_true_class(&a));
}
MP_DEFINE_CONST_FUN_OBJ_2(tpmod_model_classify_obj, tpmod_model_classify);

// --- Between samples ---

static mp_obj_t tpmod_apply(mp_obj_t self_in, void (*change)(tp_model_t *m)) {
    tp_model_t *m = tpmod_model_of(MP_OBJ_TO_PTR(self_in));
    tpmod_hold_t hold;
    tpmod_hold(&hold);
    change(m);
    tpmod_release(&hold);
    return mp_const_none;
}

static mp_obj_t tpmod_model_waited(mp_obj_t self_in) {
    return tpmod_apply(self_in, tp_count_waited);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_model_waited_obj, tpmod_model_waited);

static mp_obj_t tpmod_model_flush(mp_obj_t self_in) {
    return tpmod_apply(self_in, tp_flush);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_model_flush_obj, tpmod_model_flush);

static mp_obj_t tpmod_model_epoch_end(mp_obj_t self_in) {
    return tpmod_apply(self_in, tp_epoch_end);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_model_epoch_end_obj, tpmod_model_epoch_end);

static mp_obj_t tpmod_model_reset(mp_obj_t self_in, mp_obj_t seed) {
    if (!tpmod_is_int(seed)) {
        tpmod_raise(&mp_type_TypeError, "seed must be an integer");
    }
    uint32_t new_seed = (uint32_t)mp_obj_get_int_truncated(seed);
    tp_model_t *m = tpmod_model_of(MP_OBJ_TO_PTR(self_in));
    tpmod_hold_t hold;
    tpmod_hold(&hold);
    tp_model_reset(m, new_seed);
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
    if (n_args == 1) {
        tp_opt_t opt = tpmod_model_of(self)->opt;
        return tpmod_new_optimizer(&opt);
    }
    tp_opt_t opt = tpmod_parse_optimizer(args[1]);
    tp_fault_t fault;
    int err = tp_set_optimizer(tpmod_model_of(self), &opt, &fault);
    if (err < 0) {
        tpmod_raise_fault(err, &fault, -1);
    }
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_model_optimizer_obj, 1, 2, tpmod_model_optimizer);

// policy() -> tuple; policy(tuple) changes it
static mp_obj_t tpmod_model_policy(size_t n_args, const mp_obj_t *args) {
    tpmod_model_t *self = MP_OBJ_TO_PTR(args[0]);
    if (n_args == 1) {
        tp_policy_t policy = tpmod_model_of(self)->policy;
        return tpmod_new_policy(&policy);
    }
    tp_policy_t policy = tpmod_parse_policy(args[1]);
    tp_fault_t fault;
    int err = tp_set_policy(tpmod_model_of(self), &policy, &fault);
    if (err < 0) {
        tpmod_raise_fault(err, &fault, -1);
    }
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_model_policy_obj, 1, 2, tpmod_model_policy);

// --- Looking inside ---

static mp_obj_t tpmod_new_uints(size_t n, const uint64_t *values) {
    mp_obj_t items[12];
    for (size_t i = 0; i < n; i++) {
        items[i] = tpmod_new_uint64(values[i]);
    }
    return mp_obj_new_tuple(n, items);
}

// info() -> (n_layers, n_in, n_out, loss, batch, seed, n_scale, block_bytes, persist_bytes)
static mp_obj_t tpmod_model_info(mp_obj_t self_in) {
    const tp_model_t *m = tpmod_model_of(MP_OBJ_TO_PTR(self_in));
    const uint64_t values[] = {m->n_layers, m->n_in, tp_model_outputs(m), m->loss, m->batch,
        m->seed, m->n_scale, m->block_bytes, m->persist_bytes};
    return tpmod_new_uints(MP_ARRAY_SIZE(values), values);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_model_info_obj, tpmod_model_info);

// counters() -> (seen, trained, skipped, waited, MACs executed: forward, backward, backward
// without zero skipping; MACs of one sample of dense full training: forward, backward)
static mp_obj_t tpmod_model_counters(mp_obj_t self_in) {
    const tp_model_t *m = tpmod_model_of(MP_OBJ_TO_PTR(self_in));
    tp_macs_t dense = tp_dense_macs(m);
    const uint64_t values[] = {m->seen, m->trained, m->skipped, m->waited, m->forward_macs,
        tp_backward_macs(m), m->policy_macs, dense.forward, dense.backward};
    return tpmod_new_uints(MP_ARRAY_SIZE(values), values);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_model_counters_obj, tpmod_model_counters);

static uint32_t tpmod_layer_index(const tp_model_t *m, mp_obj_t l_in) {
    mp_int_t l = mp_obj_get_int(l_in);
    if (l < 0 || l >= m->n_layers) {
        tpmod_raise(&mp_type_IndexError, "layer %d, the model has %u", (int)l,
            (unsigned)m->n_layers);
    }
    return (uint32_t)l;
}

// layer(l) -> (kind, activation, init, trainable, n_in, n_out, slope, ymax, ratio, k, k_sum,
// backward MACs)
static mp_obj_t tpmod_model_layer(mp_obj_t self_in, mp_obj_t l_in) {
    tp_model_t *m = tpmod_model_of(MP_OBJ_TO_PTR(self_in));
    tp_layer_t y = *tp_model_layer(m, tpmod_layer_index(m, l_in));
    mp_obj_t items[] = {
        MP_OBJ_NEW_SMALL_INT(y.kind),
        MP_OBJ_NEW_SMALL_INT(y.activation),
        MP_OBJ_NEW_SMALL_INT(y.init),
        MP_OBJ_NEW_SMALL_INT(y.trainable),
        MP_OBJ_NEW_SMALL_INT(y.n_in),
        MP_OBJ_NEW_SMALL_INT(y.n_out),
        tpmod_new_float(y.slope),
        tpmod_new_float(y.ymax),
        tpmod_new_float(y.ratio),
        mp_obj_new_int_from_uint(y.k),
        tpmod_new_uint64(y.k_sum),
        tpmod_new_uint64(y.macs),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
MP_DEFINE_CONST_FUN_OBJ_2(tpmod_model_layer_obj, tpmod_model_layer);

// n floats at p, inside the block, as a Tensor.
static mp_obj_t tpmod_block_tensor(tpmod_model_t *self, const tp_model_t *m, const float *p,
    uint32_t ndim, const uint32_t *dims) {
    uint32_t offset = (uint32_t)((const uint8_t *)p - (const uint8_t *)m);
    return tpmod_tensor_new(self->block, offset, TP_F32, ndim, dims);
}

static mp_obj_t tpmod_model_weights(mp_obj_t self_in, mp_obj_t l_in) {
    tpmod_model_t *self = MP_OBJ_TO_PTR(self_in);
    tp_model_t *m = tpmod_model_of(self);
    uint32_t l = tpmod_layer_index(m, l_in);
    const tp_layer_t *layer = tp_model_layer(m, l);
    const uint32_t dims[] = {layer->n_out, layer->n_in};
    return tpmod_block_tensor(self, m, tp_layer_weights(m, l), 2, dims);
}
MP_DEFINE_CONST_FUN_OBJ_2(tpmod_model_weights_obj, tpmod_model_weights);

static mp_obj_t tpmod_model_bias(mp_obj_t self_in, mp_obj_t l_in) {
    tpmod_model_t *self = MP_OBJ_TO_PTR(self_in);
    tp_model_t *m = tpmod_model_of(self);
    uint32_t l = tpmod_layer_index(m, l_in);
    const uint32_t n = tp_model_layer(m, l)->n_out;
    return tpmod_block_tensor(self, m, tp_layer_bias(m, l), 1, &n);
}
MP_DEFINE_CONST_FUN_OBJ_2(tpmod_model_bias_obj, tpmod_model_bias);

static mp_obj_t tpmod_model_output(mp_obj_t self_in, mp_obj_t l_in) {
    tpmod_model_t *self = MP_OBJ_TO_PTR(self_in);
    tp_model_t *m = tpmod_model_of(self);
    uint32_t l = tpmod_layer_index(m, l_in);
    const uint32_t n = tp_model_layer(m, l)->n_out;
    return tpmod_block_tensor(self, m, tp_layer_output(m, l), 1, &n);
}
MP_DEFINE_CONST_FUN_OBJ_2(tpmod_model_output_obj, tpmod_model_output);

// scale() -> Tensor (2, n): input scale and offset; None where the model has none
static mp_obj_t tpmod_model_scale(mp_obj_t self_in) {
    tpmod_model_t *self = MP_OBJ_TO_PTR(self_in);
    tp_model_t *m = tpmod_model_of(self);
    if (m->n_scale == 0) {
        return mp_const_none;
    }
    const uint32_t dims[] = {2, m->n_scale};
    const float *scale = (const float *)((const uint8_t *)m + m->off_scale);
    return tpmod_block_tensor(self, m, scale, 2, dims);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_model_scale_obj, tpmod_model_scale);

static void tpmod_model_attr(mp_obj_t self_in, qstr attr, mp_obj_t *dest) {
    tpmod_model_t *self = MP_OBJ_TO_PTR(self_in);
    if (dest[0] != MP_OBJ_NULL) {
        return; // attributes cannot be set
    }
    if (attr == MP_QSTR_block) {
        dest[0] = self->block;
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

// file_check(head) -> (payload bytes, crc), None if this is not the head of a model file
static mp_obj_t tpmod_file_check(mp_obj_t head_in) {
    mp_buffer_info_t b;
    mp_get_buffer_raise(head_in, &b, MP_BUFFER_READ);
    uint32_t payload, crc;
    if (tp_file_head_check(b.buf, b.len, &payload, &crc) < 0) {
        return mp_const_none;
    }
    mp_obj_t items[] = {mp_obj_new_int_from_uint(payload), mp_obj_new_int_from_uint(crc)};
    return mp_obj_new_tuple(2, items);
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_file_check_obj, tpmod_file_check);

// file_block_bytes(payload) -> bytes of the block; 0 if damaged. The first 256 bytes are enough.
static mp_obj_t tpmod_file_block_bytes(mp_obj_t payload_in) {
    mp_buffer_info_t b;
    mp_get_buffer_raise(payload_in, &b, MP_BUFFER_READ);
    return mp_obj_new_int_from_uint(tp_file_block_bytes(b.buf, b.len));
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_file_block_bytes_obj, tpmod_file_block_bytes);

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
