// A model in use: weights, forward pass, loss, one training step, counters.
#include <string.h>

#include "tp_internal.h"

tp_layer_t *tp_model_layer(tp_model_t *m, uint32_t l) {
    return &tp_table(m)[l];
}

// Where the outside parameters are this time, behind what a checkpoint holds.
static const uint8_t **tp_outside(tp_model_t *m) {
    return (const uint8_t **)(void *)((uint8_t *)m + ((m->persist_bytes + 7u) & ~7u));
}

void *tp_layer_weights(tp_model_t *m, uint32_t l) {
    const tp_layer_t *t = &tp_table(m)[l];
    if (!tp_has_weights(t->kind)) {
        return NULL;
    }
    if (tp_is_external(t) && t->rows == 0) {
        // They do not train: nobody writes there.
        return (float *)(uintptr_t)tp_layer_external(m, l);
    }
    return tp_at(m, t->off_w);
}

void *tp_layer_bias(tp_model_t *m, uint32_t l) {
    const tp_layer_t *t = &tp_table(m)[l];
    bool external = tp_is_external(t), here = t->trainable != TP_TRAIN_NONE;
    uint8_t *w = external && here ? (uint8_t *)tp_at(m, t->off_w) : tp_layer_weights(m, l);
    size_t n = (size_t)tp_layer_fan_in(m, l) * (external && here ? t->rows : t->c);
    return w != NULL ? w + ((n * tp_value_bytes(m->dtype) + 3u) & ~(size_t)3u) : NULL;
}

uint32_t tp_layer_fan_in(const tp_model_t *m, uint32_t l) {
    const tp_layer_t *t = (const tp_layer_t *)(m + 1) + l;
    if (!tp_has_weights(t->kind)) {
        return 0;
    }
    tp_shape_t in = tp_map_shape(m, t->source);
    return TP_MAPS && t->kind == TP_LAYER_DENSE ? tp_elements(in) : tp_geometry(t, in).fan_in;
}

void *tp_layer_output(tp_model_t *m, uint32_t l) {
    return tp_at(m, tp_table(m)[l].off_act);
}

void *tp_layer_delta(tp_model_t *m, uint32_t l) {
    uint32_t at = tp_table(m)[l].off_d;
    return at != 0 ? tp_at(m, at) : NULL;
}

uint32_t tp_model_inputs(const tp_model_t *m) {
    return tp_elements(tp_map_shape(m, 0));
}

uint32_t tp_model_outputs(const tp_model_t *m) {
    return tp_elements(tp_map_shape(m, m->n_layers));
}

// Bytes of parameters outside the block that belong to the rows before `end`.
static uint32_t tp_external_bytes(const tp_model_t *m, uint32_t end) {
    const tp_layer_t *table = (const tp_layer_t *)(m + 1);
    uint32_t n = 0; // the plan saw to it that it fits
    for (uint32_t l = 0; TP_MAPS && l < end; l++) {
        if (tp_is_external(&table[l])) {
            n += (tp_layer_fan_in(m, l) + 1u) * table[l].c * 4u;
        }
    }
    return n;
}

const float *tp_layer_external(tp_model_t *m, uint32_t l) {
    const uint8_t *outside = tp_is_external(&tp_table(m)[l]) ? *tp_outside(m) : NULL;
    return outside != NULL ? (const float *)(const void *)(outside + tp_external_bytes(m, l))
                           : NULL;
}

void tp_model_take_external(tp_model_t *m) {
    for (uint32_t l = 0; TP_MAPS && l < m->n_layers; l++) {
        const tp_layer_t *t = &tp_table(m)[l];
        const float *from = tp_layer_external(m, l);
        if (from != NULL && t->trainable != TP_TRAIN_NONE) {
            size_t n = tp_layer_fan_in(m, l);
            memcpy(tp_at(m, t->off_w), from, n * t->rows * sizeof(float));
            memcpy(tp_layer_bias(m, l), from + n * t->c, t->c * sizeof(float));
        }
    }
}

int tp_model_external(tp_model_t *m, const void *parameters, size_t bytes, tp_fault_t *fault) {
    uint32_t n = tp_external_bytes(m, m->n_layers);
    if (n == 0) {
        return TP_OK;
    }
    if (bytes < n || ((uintptr_t)parameters & 3u) != 0) {
        return tp_fail_count(fault, TP_ERR_BLOCK, "bytes of the external parameters", -1,
            bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX, n, UINT32_MAX);
    }
    *tp_outside(m) = parameters;
    return TP_OK;
}

static void tp_draw_weights(tp_model_t *m, uint32_t l) {
    const tp_layer_t *t = &tp_table(m)[l];
    if (!tp_has_weights(t->kind) || tp_is_external(t)) {
        return;
    }
    float *w = tp_at(m, t->off_w);
    tp_geometry_t g = tp_geometry(t, tp_map_shape(m, t->source));
    size_t n = (size_t)g.fan_in * t->c;
    bool he = t->init == TP_INIT_HE ||
        (t->init == TP_INIT_AUTO && (t->activation == TP_RELU || t->activation == TP_LEAKY_RELU));
    // Fan out: outputs that one input has a part in.
    uint32_t places = !TP_MAPS || t->kind == TP_LAYER_DENSE ? 1u : (uint32_t)(g.kh * g.kw);
    float fan = (float)g.fan_in + (he ? 0.0f : (float)(places * g.filters));
    float limit = tp_sqrtf(6.0f / fan);
    bool drawn = t->init != TP_INIT_ZEROS && t->init != TP_INIT_ONES;
    if (tp_is_int(m)) {
        tp_int_weights_within(m, l, drawn ? limit : 1.0f);
    }
    for (size_t i = 0; i < n; i++) {
        float value = t->init == TP_INIT_ONES ? 1.0f : 0.0f;
        if (drawn) {
            float uniform = (float)(tp_rng_next(m->rng) >> 8) * 5.9604645e-8f;
            value = ((uniform + uniform) - 1.0f) * limit;
        }
        if (tp_is_int(m)) {
            tp_int_put_weight(m, l, i, value);
        } else {
            w[i] = value;
        }
    }
}

void tp_model_reset(tp_model_t *m, uint32_t seed) {
    tp_layer_t *table = tp_table(m);
    uint32_t first = tp_scale_offset(m) + m->n_scale * 8u;
    memset(tp_at(m, first), 0, m->block_bytes - first);
    m->seed = seed;
    m->dropout_key = 0;
    tp_rng_seed(m->rng, seed);
    m->beta1_t = 1.0f;
    m->beta2_t = 1.0f;
    m->batch_seen = m->batch_trained = m->skips_in_row = 0;
    if (tp_is_int(m)) {
        tp_int_begin(m);
    }
    for (uint32_t l = 0; l < m->n_layers; l++) {
        table[l].ymax = 0.0f;
        tp_draw_weights(m, l);
    }
    tp_reset_counters(m);
}

void tp_reset_counters(tp_model_t *m) {
    m->seen = m->trained = m->skipped = m->waited = 0;
    m->forward_macs = m->policy_macs = 0;
    tp_layer_t *table = tp_table(m);
    for (uint32_t l = 0; l < m->n_layers; l++) {
        table[l].ratio = 0.0f;
        table[l].k = 0;
        table[l].k_sum = table[l].macs = 0;
    }
}

int tp_get_weights(tp_model_t *m, uint32_t l, float *w, float *b) {
    const float *from = tp_layer_weights(m, l), *bias = tp_layer_bias(m, l);
    const tp_layer_t *t = &tp_table(m)[l];
    size_t n = (size_t)tp_layer_fan_in(m, l) * t->c;
    if (from == NULL || (t->flags & TP_ROW_EXTERNAL) != 0) {
        return TP_ERR_RANGE;
    }
    for (size_t i = 0; i < n && w != NULL; i++) {
        w[i] = tp_is_int(m) ? tp_int_weight(m, l, i) : from[i];
    }
    for (size_t i = 0; i < t->c && b != NULL; i++) {
        b[i] = tp_is_int(m) ? tp_int_bias(m, l, i) : bias[i];
    }
    return TP_OK;
}

static bool tp_finite_values(const float *v, size_t n) {
    for (size_t i = 0; v != NULL && i < n; i++) {
        if (!tp_isfinite(v[i])) {
            return false;
        }
    }
    return true;
}

int tp_set_weights(tp_model_t *m, uint32_t l, const float *w, const float *b) {
    float *to = tp_layer_weights(m, l), *bias = tp_layer_bias(m, l);
    const tp_layer_t *t = &tp_table(m)[l];
    size_t n = (size_t)tp_layer_fan_in(m, l) * t->c;
    if (to == NULL || (t->flags & TP_ROW_EXTERNAL) != 0) {
        return TP_ERR_RANGE;
    }
    if (!tp_finite_values(w, n) || !tp_finite_values(b, t->c)) {
        return TP_ERR_NONFINITE;
    }
    if (tp_is_int(m) && w != NULL) {
        float limit = 0.0f;
        for (size_t i = 0; i < n; i++) {
            float size = w[i] < 0.0f ? -w[i] : w[i];
            limit = size > limit ? size : limit;
        }
        tp_int_weights_within(m, l, limit);
    }
    for (size_t i = 0; i < n && w != NULL; i++) {
        if (tp_is_int(m)) {
            tp_int_put_weight(m, l, i, w[i]);
        } else {
            to[i] = w[i];
        }
    }
    for (size_t i = 0; i < t->c && b != NULL; i++) {
        if (tp_is_int(m)) {
            tp_int_put_bias(m, l, i, b[i]);
        } else {
            bias[i] = b[i];
        }
    }
    return TP_OK;
}

int tp_set_optimizer(tp_model_t *m, const tp_opt_t *opt, tp_fault_t *fault) {
    int err = tp_check_optimizer(opt, fault);
    if (err) {
        return err;
    }
    if (tp_is_int(m) && opt->weight_decay > 0.0f) {
        return tp_fail(fault, TP_ERR_RANGE, "weight_decay of a model of integers", -1,
            opt->weight_decay, 0.0f, 0.0f);
    }
    if (opt->kind != m->opt.kind) {
        return tp_fail_count(fault, TP_ERR_RANGE, "optimizer kind (fixed by the model)", -1,
            opt->kind, m->opt.kind, m->opt.kind);
    }
    if (tp_keeps_momentum(opt) != tp_keeps_momentum(&m->opt)) {
        return tp_fail(fault, TP_ERR_RANGE, "momentum (0 or not: fixed by the model)", -1,
            opt->momentum, m->opt.momentum, m->opt.momentum);
    }
    m->opt = *opt;
    return TP_OK;
}

int tp_set_policy(tp_model_t *m, const tp_policy_t *policy, tp_fault_t *fault) {
    int err = tp_check_policy(policy, fault);
    if (err == TP_OK) {
        m->policy = *policy;
    }
    return err;
}

// --- Forward ---

// Load x where the first layer looks for it.
static inline int tp_load(tp_model_t *m, const tp_view_t *x, tp_fault_t *fault) {
    uint32_t n = tp_model_inputs(m);
    if (x->count != n) {
        return tp_fail_count(fault, TP_ERR_SHAPE, "values of x", -1, x->count, n, n);
    }
    const float *scale = tp_scale(m);
    uint32_t bad = 0;
    int err = tp_is_int(m)
        ? tp_int_input(m, x, &bad)
        : tp_convert(tp_at(m, m->off_input), x, scale, scale + m->n_scale, m->n_scale, &bad);
    if (err) {
        return tp_fail_count(fault, err, "x", -1, bad, 0, 0);
    }
    uint32_t outside = tp_external_bytes(m, m->n_layers);
    if (outside > 0 && *tp_outside(m) == NULL) {
        return tp_fail_count(fault, TP_ERR_BLOCK, "bytes of the external parameters", -1, 0,
            outside, UINT32_MAX);
    }
    return TP_OK;
}

// Load x and run all layers; *macs = multiply-accumulates executed.
static int tp_forward(tp_model_t *m, const tp_view_t *x, uint64_t *macs, tp_fault_t *fault) {
    int err = tp_load(m, x, fault);
    if (err) {
        return err;
    }
    *macs = 0;
    for (uint32_t l = 0; l < m->n_layers; l++) {
        tp_layer_forward(m, l, macs);
    }
    return TP_OK;
}

// --- Targets and loss ---

float tp_target_at(const tp_target_t *y, uint32_t i) {
    const tp_view_t *v = &y->values;
    if (v->data == NULL) {
        return y->index == (int32_t)i ? 1.0f : 0.0f;
    }
    return v->dtype == TP_F32 ? ((const float *)v->data)[i] : (float)tp_view_int(v, i);
}

static int tp_check_target(const tp_model_t *m, const tp_target_t *y, tp_fault_t *fault) {
    uint32_t n = tp_model_outputs(m);
    if (y->values.data == NULL) {
        if (y->index < 0 || (uint32_t)y->index >= n) {
            return tp_fail(fault, TP_ERR_RANGE, "class index", -1, (float)y->index, 0.0f,
                (float)(n - 1u));
        }
        return TP_OK;
    }
    if (y->values.count != n) {
        return tp_fail_count(fault, TP_ERR_SHAPE, "values of y", -1, y->values.count, n, n);
    }
    uint8_t t = y->values.dtype;
    if (t != TP_F32 && t != TP_I32 && t != TP_I16 && t != TP_I8 && t != TP_U8) {
        return tp_fail_count(fault, TP_ERR_DTYPE, "y", -1, t, 0, 0);
    }
    float sum = 0.0f;
    for (uint32_t i = 0; i < n; i++) {
        float v = tp_target_at(y, i);
        if (!tp_isfinite(v)) {
            return tp_fail_count(fault, TP_ERR_NONFINITE, "y", -1, i, 0, 0);
        }
        if (m->loss == TP_SOFTMAX_CROSS_ENTROPY && v < 0.0f) {
            return tp_fail(fault, TP_ERR_RANGE, "target probability", -1, v, 0.0f, 1.0f);
        }
        sum += v;
    }
    if (m->loss == TP_SOFTMAX_CROSS_ENTROPY && !(sum >= 0.999f && sum <= 1.001f)) {
        return tp_fail(fault, TP_ERR_RANGE, "sum of the target probabilities", -1, sum, 0.999f,
            1.001f);
    }
    return TP_OK;
}

// Cross-entropy of logits z; p = softmax(z) on return, z is kept.
static float tp_cross_entropy(float *p, const float *z, uint32_t n, const tp_target_t *y) {
    memcpy(p, z, n * sizeof(float));
    float max, log_sum = tp_softmax(p, n, &max);
    if (y->values.data == NULL) {
        return log_sum - (z[y->index] - max);
    }
    float s[4] = {0};
    for (uint32_t i = 0; i < n; i++) {
        s[i & 3] += tp_target_at(y, i) * (log_sum - (z[i] - max));
    }
    return (s[0] + s[2]) + (s[1] + s[3]);
}

// e[i] = a[i] - t[i]; returns the mean of e * e.
static float tp_squared_error(float *e, const float *a, uint32_t n, const tp_target_t *y) {
    for (uint32_t i = 0; i < n; i++) {
        e[i] = a[i] - tp_target_at(y, i);
    }
    return tp_k_sum_squares_f32(e, n) / (float)n;
}

// Loss of the outputs for y. d of the last row holds p or e afterwards, the outputs stay.
static float tp_loss(tp_model_t *m, const tp_target_t *y) {
    if (tp_is_int(m)) {
        return tp_int_loss(m, y);
    }
    const float *out = tp_layer_output(m, m->n_layers - 1u);
    float *d = tp_layer_delta(m, m->n_layers - 1u);
    uint32_t n = tp_model_outputs(m);
    return m->loss == TP_SOFTMAX_CROSS_ENTROPY ? tp_cross_entropy(d, out, n, y)
                                               : tp_squared_error(d, out, n, y);
}

// d of the last row from what tp_loss left there.
static void tp_output_delta(tp_model_t *m, const tp_target_t *y) {
    if (tp_is_int(m)) {
        tp_int_output_delta(m, y);
        return;
    }
    const tp_layer_t *last = &tp_table(m)[m->n_layers - 1];
    uint32_t n = tp_model_outputs(m);
    float *d = tp_layer_delta(m, m->n_layers - 1u);
    if (m->loss == TP_SOFTMAX_CROSS_ENTROPY) {
        for (uint32_t i = 0; i < n; i++) {
            d[i] = d[i] - tp_target_at(y, i);
        }
        return;
    }
    float factor = 2.0f / (float)n;
    for (uint32_t i = 0; i < n; i++) {
        d[i] = d[i] * factor;
    }
    tp_activate_backward(d, tp_at(m, last->off_act), n, last->activation, last->slope);
}

// A forward pass that is not for training. Integer models find their ranges by it until they have
// been trained; later it leaves them as they are.
static int tp_look(tp_model_t *m, const tp_view_t *x, tp_fault_t *fault) {
    uint64_t macs;
    if (!tp_is_int(m)) {
        return tp_forward(m, x, &macs, fault);
    }
    tp_range_t before[TP_MAX_LAYERS + 1], *ranges = tp_model_ranges(m);
    size_t bytes = (m->n_layers + 1u) * sizeof(*ranges);
    memcpy(before, ranges, bytes);
    int err = tp_forward(m, x, &macs, fault);
    m->listed = 0;
    if (m->seen > 0 || err) {
        memcpy(ranges, before, bytes);
    } else {
        tp_int_shrink_ranges(m, false);
    }
    return err;
}

int tp_predict(tp_model_t *m, const tp_view_t *x, float *out, tp_fault_t *fault) {
    int err = tp_look(m, x, fault);
    if (err) {
        return err;
    }
    if (tp_is_int(m)) {
        tp_int_predict(m, out);
        return TP_OK;
    }
    uint32_t n = tp_model_outputs(m);
    float *a = tp_layer_output(m, m->n_layers - 1u);
    if (m->loss == TP_SOFTMAX_CROSS_ENTROPY) {
        tp_softmax(a, n, NULL);
    }
    if (out != NULL) {
        memcpy(out, a, n * sizeof(float));
    }
    return TP_OK;
}

int tp_evaluate(tp_model_t *m, const tp_view_t *x, const tp_target_t *y, float *loss,
    uint32_t *best, tp_fault_t *fault) {
    int err = tp_check_target(m, y, fault);
    err = err ? err : tp_look(m, x, fault);
    if (err) {
        return err;
    }
    float value = tp_loss(m, y);
    if (!tp_isfinite(value)) {
        return tp_fail(fault, TP_ERR_NONFINITE, "loss", -1, value, 0.0f, 0.0f);
    }
    const float *a = tp_layer_output(m, m->n_layers - 1u);
    *loss = value;
    if (tp_is_int(m)) {
        *best = tp_int_best(m);
        return TP_OK;
    }
    *best = 0;
    for (uint32_t i = 1; i < tp_model_outputs(m); i++) {
        *best = a[i] > a[*best] ? i : *best;
    }
    return TP_OK;
}

// --- Training ---

// A key for the dropout of one sample; the generator moves on only where there is any. 0: none.
static uint32_t tp_draw_key(const tp_model_t *m, uint32_t rng[4]) {
    const tp_layer_t *table = (const tp_layer_t *)(m + 1);
    memcpy(rng, m->rng, sizeof(m->rng));
    for (uint32_t l = 0; TP_MAPS && l < m->n_layers; l++) {
        if (table[l].kind == TP_LAYER_DROPOUT) {
            return tp_rng_next(rng) | 1u;
        }
    }
    return 0;
}

// sum |d| of the last row, where the policy wants to know.
static float tp_output_error(tp_model_t *m) {
    uint32_t last = m->n_layers - 1u;
    if (m->policy.kind < TP_TINYPROP) {
        return 0.0f;
    }
    return tp_is_int(m) ? tp_int_sum_abs(m, last)
                        : tp_k_sum_abs_f32(tp_layer_delta(m, last), tp_model_outputs(m));
}

int tp_train_step(tp_model_t *m, const tp_view_t *x, const tp_target_t *y, float *loss,
    tp_fault_t *fault) {
    uint64_t macs;
    uint32_t rng[4];
    int err = tp_check_target(m, y, fault);
    if (err) {
        return err;
    }
    m->dropout_key = tp_draw_key(m, rng);
    err = tp_forward(m, x, &macs, fault);
    uint32_t key = m->dropout_key;
    m->dropout_key = 0;
    if (err) {
        return err;
    }
    *loss = tp_loss(m, y);
    if (!tp_isfinite(*loss)) {
        return tp_fail(fault, TP_ERR_NONFINITE, "loss", -1, *loss, 0.0f, 0.0f);
    }
    memcpy(m->rng, rng, sizeof(rng));
    tp_output_delta(m, y);
    float sum = tp_output_error(m);
    bool train = tp_policy_decide(m, sum);
    m->seen++;
    m->forward_macs += macs;
    if (train) {
        m->trained++;
        m->batch_trained++;
        m->skips_in_row = 0;
        if (m->batch == 1) {
            tp_optim_begin(m);
        }
        m->dropout_key = key;
        tp_backward(m, sum, NULL);
        m->dropout_key = 0;
    } else {
        m->skipped++;
        m->skips_in_row++;
    }
    if (++m->batch_seen >= m->batch) {
        if (m->batch > 1) {
            tp_flush(m);
        }
        m->batch_seen = m->batch_trained = 0;
    }
    if (tp_is_int(m)) {
        tp_int_end_step(m, train);
    }
    return train ? 1 : 0;
}

int tp_profile(tp_model_t *m, const tp_view_t *x, const tp_target_t *y, const tp_trace_t *trace,
    tp_fault_t *fault) {
    uint32_t rng[4], n = m->n_layers;
    int err = tp_check_target(m, y, fault);
    if (err) {
        return err;
    }
    const tp_layer_t *table = tp_table(m);
    for (uint32_t l = 0; l < n; l++) {
        trace->rows[l].macs[1] -= (uint32_t)table[l].macs;
    }
    trace->lap(trace->context);
    m->dropout_key = tp_draw_key(m, rng);
    err = tp_load(m, x, fault);
    tp_mark(trace, n, TP_PASS_FORWARD);
    for (uint32_t l = 0; l < n && !err; l++) {
        uint64_t macs = 0;
        tp_layer_forward(m, l, &macs);
        trace->rows[l].macs[0] += (uint32_t)macs;
        tp_mark(trace, l, TP_PASS_FORWARD);
    }
    if (!err) {
        float loss = tp_loss(m, y);
        if (!tp_isfinite(loss)) {
            err = tp_fail(fault, TP_ERR_NONFINITE, "loss", -1, loss, 0.0f, 0.0f);
        } else {
            tp_output_delta(m, y);
            float sum = tp_output_error(m);
            err = tp_policy_decide(m, sum) ? 1 : 0;
            if (m->batch == 1) {
                tp_optim_begin(m);
            }
            tp_mark(trace, n, TP_PASS_SELECT);
            tp_backward(m, sum, trace);
        }
    }
    for (uint32_t l = 0; l < n; l++) {
        trace->rows[l].macs[1] += (uint32_t)table[l].macs;
    }
    m->listed = 0;
    return err;
}

void tp_count_waited(tp_model_t *m) {
    m->seen++;
    m->waited++;
}

void tp_epoch_end(tp_model_t *m) {
    tp_flush(m);
    tp_layer_t *table = tp_table(m);
    for (uint32_t l = 0; l < m->n_layers && m->policy.kind >= TP_TINYPROP; l++) {
        table[l].ymax = table[l].ymax * m->policy.ymax_decay;
    }
}

tp_macs_t tp_dense_macs(const tp_model_t *m) {
    tp_macs_t macs = {0, 0};
    const tp_layer_t *table = (const tp_layer_t *)(m + 1);
    for (uint32_t l = 0; l < m->n_layers; l++) {
        uint64_t n = (uint64_t)tp_layer_fan_in(m, l) * tp_row_size(&table[l]);
        macs.forward += n;
        macs.backward += table[l].source > 0 ? n + n : n;
    }
    return macs;
}

uint64_t tp_backward_macs(const tp_model_t *m) {
    uint64_t macs = 0;
    const tp_layer_t *table = (const tp_layer_t *)(m + 1);
    for (uint32_t l = 0; l < m->n_layers; l++) {
        macs += table[l].macs;
    }
    return macs;
}
