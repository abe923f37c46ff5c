// What is allowed, and how big it is: checks of a specification, and the one layout function
// that both planning and using a model go through.
#include <string.h>

#include "tp_internal.h"

int tp_fail(tp_fault_t *fault, int code, const char *what, int32_t layer, float got, float lo,
    float hi) {
    if (fault != NULL) {
        *fault = (tp_fault_t){what, layer, got, lo, hi};
    }
    return code;
}

int tp_fail_count(tp_fault_t *fault, int code, const char *what, int32_t layer, uint32_t got,
    uint32_t lo, uint32_t hi) {
    return tp_fail(fault, code, what, layer, (float)got, (float)lo, (float)hi);
}

bool tp_within(float x, float lo, float hi) {
    return x >= lo && x <= hi;
}

#define TP_BELOW_1 0.99999994f
#define TP_TINY 1.17549435e-38f
#define TP_COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define TP_INT(type, member, kind, lo, hi, what) {what, hi, kind, lo, offsetof(type, member)}
// Where there are no maps, only 0 is allowed.
#define TP_MAP_INT(type, member, kind, lo, hi, what) \
    TP_INT(type, member, kind, lo, TP_MAPS ? hi : 0, TP_MAPS ? what : "layers of maps")
#define TP_FLOAT(type, member, range, what) TP_INT(type, member, TP_FIELD_F32, 0, range, what)

const tp_field_t tp_opt_fields[TP_OPT_FIELDS] = {
    TP_INT(tp_opt_t, kind, TP_FIELD_U8, 0, TP_ADAM, "optimizer kind"),
    TP_INT(tp_opt_t, rows, TP_FIELD_U8, 0, TP_ROWS_EXACT, "optimizer rows"),
    TP_FLOAT(tp_opt_t, lr, TP_ABOVE_0, "lr"),
    TP_FLOAT(tp_opt_t, momentum, TP_0_BELOW_1, "momentum"),
    TP_FLOAT(tp_opt_t, weight_decay, TP_AT_LEAST_0, "weight_decay"),
    TP_FLOAT(tp_opt_t, beta1, TP_0_BELOW_1, "beta_1"),
    TP_FLOAT(tp_opt_t, beta2, TP_0_BELOW_1, "beta_2"),
    TP_FLOAT(tp_opt_t, eps, TP_ABOVE_0, "epsilon"),
};

const tp_field_t tp_policy_fields[TP_POLICY_FIELDS] = {
    TP_INT(tp_policy_t, kind, TP_FIELD_U8, 0, TP_TINYPROPV2, "policy kind"),
    TP_INT(tp_policy_t, beta_mode, TP_FIELD_U8, 0, 1, "beta_mode"),
    TP_INT(tp_policy_t, dense_output, TP_FIELD_U8, 0, 1, "dense_output"),
    TP_INT(tp_policy_t, backoff, TP_FIELD_U8, 0, TP_BACKOFF_MAX, "backoff"),
    TP_FLOAT(tp_policy_t, ratio, TP_ABOVE_0_TO_1, "ratio"),
    TP_FLOAT(tp_policy_t, s_min, TP_0_TO_1, "s_min"),
    TP_FLOAT(tp_policy_t, s_max, TP_FROM_THE_ONE_BEFORE + TP_0_TO_1, "s_max"),
    TP_FLOAT(tp_policy_t, zeta, TP_ABOVE_0_TO_1, "zeta"),
    TP_FLOAT(tp_policy_t, d_min, TP_AT_LEAST_0, "d_min"),
    TP_FLOAT(tp_policy_t, d_max, TP_FROM_THE_ONE_BEFORE + TP_AT_LEAST_0, "d_max"),
    TP_FLOAT(tp_policy_t, threshold, TP_ANY_FINITE, "threshold"),
    TP_FLOAT(tp_policy_t, ymax_decay, TP_ABOVE_0_TO_1, "ymax_decay"),
    TP_INT(tp_policy_t, k, TP_FIELD_U32, 0, TP_MAX_UNITS, "k"),
    TP_INT(tp_policy_t, warmup, TP_FIELD_U32, 0, 0, "warmup"),
    TP_INT(tp_policy_t, max_skips, TP_FIELD_U32, 0, 0, "max_skips"),
    TP_INT(tp_policy_t, rescale, TP_FIELD_U8, 0, 1, "rescale"),
};

const tp_field_t tp_spec_fields[TP_SPEC_FIELDS] = {
    TP_INT(tp_spec_t, h, TP_FIELD_U32, 1, TP_MAX_UNITS, "input height"),
    TP_INT(tp_spec_t, w, TP_FIELD_U32, 1, TP_MAX_UNITS, "input width"),
    TP_INT(tp_spec_t, c, TP_FIELD_U32, 1, TP_MAX_UNITS, "input size"),
    TP_INT(tp_spec_t, loss, TP_FIELD_U8, 0, TP_MEAN_SQUARED_ERROR, "loss"),
    TP_INT(tp_spec_t, batch, TP_FIELD_U32, 1, 65535, "batch_size"),
    TP_INT(tp_spec_t, keep, TP_FIELD_U8, 0, 1, "keep"),
    TP_INT(tp_spec_t, zero_skip, TP_FIELD_U8, 0, 100, "zero_skip"),
    TP_INT(tp_spec_t, n_layers, TP_FIELD_U32, 1, TP_MAX_LAYERS, "number of layers"),
    TP_INT(tp_spec_t, n_scale, TP_FIELD_U32, 0, 65535, "length of the input scale"),
};

const tp_field_t tp_layer_spec_fields[TP_LAYER_SPEC_FIELDS] = {
    TP_INT(tp_layer_spec_t, kind, TP_FIELD_U8, 1, TP_LAYER_KINDS - 1, "layer kind"),
    TP_INT(tp_layer_spec_t, activation, TP_FIELD_U8, 0, TP_TANH, "activation"),
    TP_INT(tp_layer_spec_t, init, TP_FIELD_U8, 0, TP_INIT_ONES, "init"),
    TP_INT(tp_layer_spec_t, trainable, TP_FIELD_U8, 0, TP_TRAIN_ALL, "trainable"),
    TP_INT(tp_layer_spec_t, units, TP_FIELD_U32, 1, TP_MAX_UNITS, "units"),
    TP_FLOAT(tp_layer_spec_t, slope, TP_0_BELOW_1, "slope"),
    TP_MAP_INT(tp_layer_spec_t, kernel_h, TP_FIELD_U8, 0, 255, "kernel height"),
    TP_MAP_INT(tp_layer_spec_t, kernel_w, TP_FIELD_U8, 0, 255, "kernel width"),
    TP_MAP_INT(tp_layer_spec_t, stride_h, TP_FIELD_U8, 0, 255, "stride"),
    TP_MAP_INT(tp_layer_spec_t, stride_w, TP_FIELD_U8, 0, 255, "stride"),
    TP_MAP_INT(tp_layer_spec_t, same, TP_FIELD_U8, 0, 1, "padding"),
    TP_MAP_INT(tp_layer_spec_t, select, TP_FIELD_U8, 0, 1, "select"),
    TP_MAP_INT(tp_layer_spec_t, source, TP_FIELD_U8, 0, 255, "source"),
    TP_MAP_INT(tp_layer_spec_t, other, TP_FIELD_U8, 0, 255, "second source"),
    TP_INT(tp_layer_spec_t, rows, TP_FIELD_U16, 0, TP_MAX_UNITS, "filters to train"),
    TP_MAP_INT(tp_layer_spec_t, external, TP_FIELD_U8, 0, 1, "external"),
    TP_MAP_INT(tp_layer_spec_t, recompute, TP_FIELD_U8, 0, 1, "recompute"),
};

// The fields of a structure whose bit is set in `which`.
static int tp_check_fields(const void *p, const tp_field_t *f, uint32_t which, int32_t l,
    tp_fault_t *fault) {
    static const float ranges[][2] = {
        [TP_ANY_FINITE] = {-TP_HUGE, TP_HUGE},
        [TP_ABOVE_0] = {TP_TINY, TP_HUGE},
        [TP_AT_LEAST_0] = {0.0f, TP_HUGE},
        [TP_0_BELOW_1] = {0.0f, TP_BELOW_1},
        [TP_ABOVE_0_TO_1] = {TP_TINY, 1.0f},
        [TP_0_TO_1] = {0.0f, 1.0f},
    };
    for (; which != 0; which >>= 1, f++) {
        const uint8_t *at = (const uint8_t *)p + f->offset;
        // What is 31 bits wide is not checked here.
        float got = f->kind == TP_FIELD_U32 ? (float)*(const uint32_t *)(const void *)at
            : f->kind == TP_FIELD_U16       ? *(const uint16_t *)(const void *)at
                                            : *at;
        float lo = f->lo, hi = f->hi;
        if (f->kind == TP_FIELD_F32) {
            const float *v = (const float *)(const void *)at;
            const float *range = ranges[f->hi % TP_FROM_THE_ONE_BEFORE];
            got = *v;
            lo = f->hi > TP_FROM_THE_ONE_BEFORE ? v[-1] : range[0];
            hi = range[1];
        }
        if ((which & 1u) != 0 && !tp_within(got, lo, hi)) {
            // What only maps have is 0 where these are left out.
            bool lacks = !TP_MAPS && f->hi == 0 && f->kind == TP_FIELD_U8;
            return tp_fail(fault, lacks ? TP_ERR_FEATURE : TP_ERR_RANGE, f->what, l, got, lo, hi);
        }
    }
    return TP_OK;
}

int tp_check_optimizer(const tp_opt_t *opt, tp_fault_t *fault) {
    // Only what the kind uses is checked.
    int err = tp_check_fields(opt, tp_opt_fields, opt->kind == TP_ADAM ? 0xff : 0x1f, -1, fault);
    float product = opt->lr * opt->weight_decay;
    if (err == TP_OK && !tp_within(product, 0.0f, TP_BELOW_1)) {
        err = tp_fail(fault, TP_ERR_RANGE, "lr * weight_decay", -1, product, 0.0f, TP_BELOW_1);
    }
    return err;
}

int tp_check_policy(const tp_policy_t *p, tp_fault_t *fault) {
    uint32_t which = p->kind == TP_TOPK && p->k == 0 ? 0x11 : 1; // ratio
    if (p->kind >= TP_TINYPROP) {
        // beta_mode, s_min, s_max, zeta, ymax_decay; then backoff, d_min, d_max, threshold.
        which = p->kind == TP_TINYPROP ? 0x8e3 : 0xfeb;
    }
    return tp_check_fields(p, tp_policy_fields, which, -1, fault);
}

bool tp_keeps_momentum(const tp_opt_t *opt) {
    return opt->kind == TP_ADAM || opt->momentum > 0.0f;
}

#if TP_MAPS

typedef struct {
    const char *what;
    uint32_t got, lo, hi;
} tp_count_t;

static int tp_check_counts(const tp_count_t *limits, size_t n, int32_t l, tp_fault_t *fault) {
    for (size_t i = 0; i < n; i++) {
        const tp_count_t *q = &limits[i];
        if (q->got < q->lo || q->got > q->hi) {
            return tp_fail_count(fault, TP_ERR_RANGE, q->what, l, q->got, q->lo, q->hi);
        }
    }
    return TP_OK;
}

#endif

static int tp_check_layer(const tp_layer_spec_t *s, uint32_t l, bool last, uint8_t loss,
    tp_fault_t *fault) {
    bool weights = tp_has_weights(s->kind), linear = last && loss == TP_SOFTMAX_CROSS_ENTROPY;
    linear = linear || (!weights && s->kind != TP_LAYER_ADD);
    if (!TP_MAPS && (s->kind > TP_LAYER_DENSE || tp_resolve(s->source, l) != l)) {
        return tp_fail_count(fault, TP_ERR_FEATURE, "layers of maps", (int32_t)l, s->kind, 0, 0);
    }
    // kind, activation, init, trainable; units of those that have weights, a slope where it counts.
    uint32_t which = weights ? 0x1f : 0x0f;
    which |= s->activation == TP_LEAKY_RELU ? 0x20 : 0;
    which |= TP_MAPS ? 0 : 0x18fc0; // kernel to select, external, recompute
    int err = tp_check_fields(s, tp_layer_spec_fields, which, (int32_t)l, fault);
    if (err == TP_OK && linear && s->activation != TP_LINEAR) {
        err = tp_fail_count(fault, TP_ERR_RANGE, "activation", (int32_t)l, s->activation, 0, 0);
    }
#if TP_MAPS
    bool window = s->kind > TP_LAYER_DENSE && s->kind <= TP_LAYER_AVERAGE_POOL;
    const tp_count_t limits[] = {
        {"trainable", s->trainable, TP_TRAIN_NONE, weights ? TP_TRAIN_ALL : TP_TRAIN_NONE},
        {"kernel height", s->kernel_h, window && weights, window ? 255 : 0},
        {"kernel width", s->kernel_w, window && weights, window ? 255 : 0},
        {"stride", s->stride_h | s->stride_w, 0, window ? 255 : 0},
        {"padding", s->same, 0, window},
        {"select", s->select, 0, s->kind == TP_LAYER_CONV || s->kind == TP_LAYER_DEPTHWISE},
        {"source", tp_resolve(s->source, l), 0, l},
        {"second source", tp_resolve(s->other, l), 0, l},
        {"external", s->external, 0, weights},
        {"recompute", s->recompute, 0, 1},
    };
    err = err ? err : tp_check_counts(limits, TP_COUNT(limits), (int32_t)l, fault);
    if (err) {
        return err;
    }
    if (s->kind == TP_LAYER_ADD && tp_resolve(s->source, l) == tp_resolve(s->other, l)) {
        return tp_fail_count(fault, TP_ERR_RANGE, "number of maps to add", (int32_t)l, 1, 2, 2);
    }
    if (s->kind == TP_LAYER_DROPOUT && !tp_within(s->slope, 0.0f, TP_BELOW_1)) {
        return tp_fail(fault, TP_ERR_RANGE, "rate", (int32_t)l, s->slope, 0.0f, TP_BELOW_1);
    }
#endif
    return err;
}

static bool tp_trains(const tp_layer_spec_t *s) {
    return s->trainable != TP_TRAIN_NONE;
}

// What models of integers can do.
static int tp_check_integers(const tp_spec_t *s, tp_fault_t *fault) {
    if (!TP_INTEGER) {
        return tp_fail_count(fault, TP_ERR_FEATURE, "integers", -1, 0, 0, 0);
    }
    if (s->dtype != TP_I8 && s->dtype != TP_I16) {
        return tp_fail_count(fault, TP_ERR_DTYPE, "dtype", -1, s->dtype, 0, 0);
    }
    if (s->opt.kind != TP_SGD || s->batch != 1) {
        bool adam = s->opt.kind != TP_SGD;
        return tp_fail_count(fault, TP_ERR_RANGE,
            adam ? "optimizer kind of a model of integers" : "batch_size of a model of integers",
            -1, adam ? s->opt.kind : s->batch, adam ? TP_SGD : 1, adam ? TP_SGD : 1);
    }
    if (s->opt.weight_decay > 0.0f) {
        return tp_fail(fault, TP_ERR_RANGE, "weight_decay of a model of integers", -1,
            s->opt.weight_decay, 0.0f, 0.0f);
    }
    for (uint32_t l = 0; TP_MAPS && l < s->n_layers; l++) {
        if (s->layers[l].external) {
            return tp_fail_count(fault, TP_ERR_RANGE, "external (of a model of integers)",
                (int32_t)l, 1, 0, 0);
        }
    }
    return TP_OK;
}

// Shapes (n_layers + 1) come out on the way.
static int tp_check_spec(const tp_spec_t *s, tp_shape_t *shapes, tp_fault_t *fault) {
    uint64_t n_in = (uint64_t)s->h * s->w * s->c; // each is checked below
    int err = tp_check_fields(s, tp_spec_fields, 0x1ff, -1, fault);
    if (err) {
        return err;
    }
    if (s->n_scale > n_in) {
        return tp_fail_count(fault, TP_ERR_RANGE, "length of the input scale", -1, s->n_scale, 0,
            (uint32_t)n_in);
    }
    if (n_in > TP_MAX_MAP) {
        return tp_fail(fault, TP_ERR_RANGE, "input size", -1,
            (float)s->h * (float)s->w * (float)s->c, 1.0f, (float)TP_MAX_MAP);
    }
    if (s->n_scale != 0 && n_in % s->n_scale != 0) {
        return tp_fail_count(fault, TP_ERR_SHAPE,
            "length of the input scale (must divide the input)", -1, s->n_scale, (uint32_t)n_in,
            (uint32_t)n_in);
    }
    for (uint32_t i = 0; i < s->n_scale; i++) {
        if (!tp_isfinite(s->scale[i]) || !tp_isfinite(s->offset[i])) {
            bool scale = !tp_isfinite(s->scale[i]);
            return tp_fail(fault, TP_ERR_NONFINITE, scale ? "input scale" : "input offset", -1,
                scale ? s->scale[i] : s->offset[i], -TP_HUGE, TP_HUGE);
        }
    }
    bool any = false;
    for (uint32_t l = 0; l < s->n_layers; l++) {
        err = tp_check_layer(&s->layers[l], l, l + 1 == s->n_layers, s->loss, fault);
        if (err) {
            return err;
        }
        any = any || tp_trains(&s->layers[l]);
        bool used = !TP_MAPS || l + 1u == s->n_layers;
        for (uint32_t q = l + 1u; q < s->n_layers && !used; q++) {
            const tp_layer_spec_t *later = &s->layers[q];
            used = tp_resolve(later->source, q) == l + 1u ||
                (later->kind == TP_LAYER_ADD && tp_resolve(later->other, q) == l + 1u);
        }
        if (!used) {
            return tp_fail_count(fault, TP_ERR_RANGE, "uses of the output", (int32_t)l, 0, 1,
                TP_MAX_LAYERS);
        }
    }
    if (!any) {
        return tp_fail_count(fault, TP_ERR_RANGE, "number of trainable layers", -1, 0, 1,
            s->n_layers);
    }
    err = tp_shapes(s, shapes, fault);
    if (err) {
        return err;
    }
    for (uint32_t l = 0; l < s->n_layers; l++) {
        const tp_layer_spec_t *q = &s->layers[l];
        uint32_t filters = tp_has_weights(q->kind) ? shapes[l + 1u].c : 0;
        if (q->rows > filters) {
            return tp_fail_count(fault, TP_ERR_RANGE, "filters to train", (int32_t)l, q->rows, 0,
                filters);
        }
    }
    err = tp_check_optimizer(&s->opt, fault);
    err = err ? err : tp_check_policy(&s->policy, fault);
    return err || s->dtype == 0 || s->dtype == TP_F32 ? err : tp_check_integers(s, fault);
}

// Hands out floats one after the other; remembers when an offset no longer fits.
typedef struct {
    uint32_t at;
    bool overflow;
} tp_cursor_t;

// 2^31 bytes: a size must also fit a signed 32-bit count on every host.
#define TP_TOO_MANY 0x20000000u

static uint32_t tp_take(tp_cursor_t *c, uint32_t floats, uint32_t *sum) {
    uint32_t at = c->at * 4u;
    if (floats >= TP_TOO_MANY - c->at) {
        c->overflow = true;
        return 0;
    }
    c->at += floats;
    *sum += floats * 4u;
    return floats == 0 ? 0 : at;
}

// a * b + more, or too many.
static uint32_t tp_area(uint32_t a, uint32_t b, uint32_t more) {
    return b != 0 && a > TP_TOO_MANY / b ? TP_TOO_MANY : a * b + more;
}

// What a row of the table says of the specification; offsets and flags come later.
static void tp_describe(const tp_spec_t *s, uint32_t l, const tp_shape_t *shapes, tp_layer_t *t) {
    const tp_layer_spec_t *q = &s->layers[l];
    tp_shape_t out = shapes[l + 1u];
    memcpy(&t->kind, &q->kind, 4); // to trainable, in the same order
    t->source = (uint8_t)tp_source_of(q, l);
    t->other = 0;
    if (TP_MAPS) {
        t->other = (uint8_t)(q->kind == TP_LAYER_ADD ? tp_resolve(q->other, l) : 0);
        memcpy(&t->kernel_h, &q->kernel_h, 6); // to select
    }
    t->rows = q->trainable != TP_TRAIN_ALL ? 0 : q->rows != 0 ? q->rows : out.c;
    t->h = out.h;
    t->w = out.w;
    t->c = out.c;
    t->slope = q->slope;
}

// Words of scratch that row l needs, if weights and maps are integers.
static uint32_t tp_int_scratch(const tp_layer_t *t, const tp_geometry_t *g, const uint8_t *flags,
    uint32_t bytes, bool momentum) {
    bool slides = tp_n_places(t) > 1 || tp_groups(g) > 1;
    bool below = t->source > 0 && (flags[t->source - 1u] & TP_ROW_WANTS_D) != 0;
    uint32_t n = g->fan_in, patch = tp_is_contiguous(g) ? 0 : (n * bytes + 3u) / 4u;
    uint32_t sums = g->filters; // of one place
    uint32_t dx = below ? n : 0;
    // Sums of 32 bits, then 16; momentum takes x of 16 bits.
    uint32_t halves = (slides || (momentum && bytes == 1u)) && t->rows > 0 ? (n + 1u) / 2u : 0;
    uint32_t step = slides && t->rows > 0 ? n + halves : halves;
    sums = dx > sums ? dx : sums;
    patch += step > sums ? step : sums;
    uint32_t channels = TP_MAPS && t->select == TP_SELECT_CHANNELS ? t->c : 0;
    return channels > patch ? channels : patch;
}

// Floats of scratch that row l needs.
static uint32_t tp_row_scratch(const tp_spec_t *s, const tp_layer_t *t, const tp_geometry_t *g,
    const uint8_t *flags) {
    bool many = tp_n_places(t) > 1 || tp_groups(g) > 1;
    bool sums = many && t->rows > 0 && s->batch == 1 &&
        (tp_keeps_momentum(&s->opt) || s->opt.weight_decay > 0.0f);
    bool below = t->source > 0 && (flags[t->source - 1u] & TP_ROW_WANTS_D) != 0;
    bool contiguous = tp_is_contiguous(g);
    bool dx = below && (!contiguous || !tp_has_flag(t, TP_ROW_FIRST_SOURCE));
    uint32_t n = g->fan_in * ((contiguous ? 0u : 1u) + (dx || sums ? 1u : 0u));
    bool trains = t->trainable != TP_TRAIN_NONE;
    bool channel_sums = (trains && many) || (TP_MAPS && t->select == TP_SELECT_CHANNELS);
    uint32_t channels = channel_sums ? t->c : 0;
    return channels > n ? channels : n;
}

int tp_layout(const tp_spec_t *s, tp_plan_t *plan, tp_model_t *m, tp_layer_t *table,
    tp_fault_t *fault) {
    tp_shape_t shapes[TP_MAX_LAYERS + 1];
    tp_span_t spans[TP_SPANS];
    uint8_t flags[TP_MAX_LAYERS];
    int err = tp_check_spec(s, shapes, fault);
    if (err) {
        return err;
    }
    tp_cursor_t c = {0, false}, outside = {0, false};
    uint32_t arena = tp_arena(s, shapes, spans, flags), scratch = 0, index = 0;
    memset(plan, 0, sizeof(*plan));
    tp_take(&c, (uint32_t)(sizeof(tp_model_t) + s->n_layers * sizeof(tp_layer_t)) / 4u,
        &plan->header);
    tp_take(&c, s->n_scale * 2u, &plan->header);
    uint32_t value_bytes = tp_value_bytes(s->dtype);
    bool ints = TP_INTEGER && value_bytes < 4u;
    uint32_t ranges = (uint32_t)((s->n_layers + 1u) * sizeof(tp_range_t) / 4u);
    tp_take(&c, ints ? ranges : 0, &plan->header);
    bool momentum = tp_keeps_momentum(&s->opt), adam = s->opt.kind == TP_ADAM;
    for (int pass = 0; pass < 3; pass++) {
        // Pass 0: parameters, 1: optimiser, 2: gradients; then the volatile rest.
        for (uint32_t l = 0; l < s->n_layers; l++) {
            const tp_layer_spec_t *q = &s->layers[l];
            tp_layer_t row, *t = table != NULL ? &table[l] : &row;
            memset(&row, 0, sizeof(row));
            tp_describe(s, l, shapes, t);
            uint8_t again = spans[l + 1u].again;
            bool external = TP_MAPS && q->external;
            t->again = TP_MAPS && again != 0 ? (uint8_t)(2u * s->n_layers - again + 1u) : 0;
            t->flags = (uint8_t)(flags[l] | (external ? TP_ROW_EXTERNAL : 0));
            if (!tp_has_weights(t->kind)) {
                t->off_w = t->off_m = t->off_v = t->off_g = 0;
                continue;
            }
            tp_geometry_t g = tp_geometry(t, shapes[t->source]);
            uint32_t all = tp_area(g.fan_in, t->c, t->c);
            all = ints && all < TP_TOO_MANY ? ((all - t->c) * value_bytes + 3u) / 4u + t->c : all;
            uint32_t moved = tp_area(g.fan_in, t->rows, t->c);
            bool trains = tp_trains(q);
            if (pass == 0) {
                tp_take(&outside, external ? all : 0, &plan->external);
                all = !external ? all : trains ? moved : 0;
                t->off_w = tp_take(&c, all, &plan->parameters);
                uint32_t n = ints ? tp_int_scratch(t, &g, flags, value_bytes, momentum)
                                  : tp_row_scratch(s, t, &g, flags);
                scratch = n > scratch ? n : scratch;
                index = s->zero_skip > 0 && g.fan_in > index ? g.fan_in : index;
            } else if (pass == 1) {
                // Velocities of integer weights have 16 bits, those of biases 32.
                uint32_t slots = moved;
                if (ints && moved < TP_TOO_MANY) {
                    slots = ((moved - t->c) * 2u + 3u) / 4u + t->c;
                }
                t->off_m = tp_take(&c, trains && momentum ? slots : 0, &plan->optimizer);
                t->off_v = tp_take(&c, trains && adam ? moved : 0, &plan->optimizer);
            } else {
                bool sums = trains && s->batch > 1;
                t->off_g = tp_take(&c, sums ? moved + (t->rows + 3u) / 4u : 0, &plan->gradients);
            }
        }
    }
    plan->persist = c.at * 4u;
    if (TP_MAPS && plan->external > 0) {
        // Where the outside parameters are this time: a pointer, aligned for any host.
        tp_take(&c, 2u + c.at % 2u, &plan->scratch);
    }
    uint32_t off_arena = tp_take(&c, arena / 4u, &plan->activations);
    for (uint32_t r = 0; r <= s->n_layers && table != NULL; r++) {
        if (r > 0) {
            tp_span_t *d = &spans[s->n_layers + r];
            table[r - 1u].off_act = off_arena + spans[r].at;
            table[r - 1u].off_d = d->bytes > 0 ? off_arena + d->at : 0;
        }
    }
    uint32_t off_scratch = c.at * 4u;
    tp_take(&c, (index + 1u) / 2u, &plan->scratch);
    tp_take(&c, scratch, &plan->scratch);
    if (c.overflow || outside.overflow) {
        return tp_fail_count(fault, TP_ERR_SIZE, "bytes of the model", -1, 0x80000000u, 0,
            0x7fffffffu);
    }
    plan->total = c.at * 4u;
    if (m != NULL) {
        m->index = (uint16_t)index;
        m->off_input = off_arena + spans[0].at;
        m->off_scratch = off_scratch;
        m->block_bytes = plan->total;
        m->persist_bytes = plan->persist;
    }
    return TP_OK;
}

int tp_plan(const tp_spec_t *spec, tp_plan_t *plan, tp_fault_t *fault) {
    return tp_layout(spec, plan, NULL, NULL, fault);
}
