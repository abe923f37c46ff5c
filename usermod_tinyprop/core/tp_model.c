// A model in use: weights, forward pass, loss, one training step, counters.
#include <string.h>

#include "tp_internal.h"

tp_layer_t *tp_model_layer(tp_model_t *m, uint32_t l) {
    return &tp_table(m)[l];
}

float *tp_layer_weights(tp_model_t *m, uint32_t l) {
    return tp_at(m, tp_table(m)[l].off_w);
}

float *tp_layer_bias(tp_model_t *m, uint32_t l) {
    const tp_layer_t *layer = &tp_table(m)[l];
    return tp_at(m, layer->off_w) + (size_t)layer->n_in * layer->n_out;
}

float *tp_layer_output(tp_model_t *m, uint32_t l) {
    return tp_at(m, tp_table(m)[l].off_act);
}

uint32_t tp_model_outputs(const tp_model_t *m) {
    return ((const tp_layer_t *)(m + 1))[m->n_layers - 1].n_out;
}

static void tp_draw_weights(tp_model_t *m, tp_layer_t *layer) {
    float *w = tp_at(m, layer->off_w);
    size_t n = (size_t)layer->n_in * layer->n_out;
    bool he = layer->init == TP_INIT_HE ||
        (layer->init == TP_INIT_AUTO &&
            (layer->activation == TP_RELU || layer->activation == TP_LEAKY_RELU));
    float fan = (float)layer->n_in + (he ? 0.0f : (float)layer->n_out);
    float limit = tp_sqrtf(6.0f / fan);
    for (size_t i = 0; i < n && layer->init != TP_INIT_ZEROS; i++) {
        float uniform = (float)(tp_rng_next(m->rng) >> 8) * 5.9604645e-8f;
        w[i] = ((uniform + uniform) - 1.0f) * limit;
    }
}

void tp_model_reset(tp_model_t *m, uint32_t seed) {
    tp_layer_t *table = tp_table(m);
    uint32_t first = table[0].off_w;
    memset(tp_at(m, first), 0, m->block_bytes - first);
    m->seed = seed;
    tp_rng_seed(m->rng, seed);
    m->beta1_t = 1.0f;
    m->beta2_t = 1.0f;
    m->batch_seen = m->batch_trained = m->skips_in_row = 0;
    for (uint32_t l = 0; l < m->n_layers; l++) {
        table[l].ymax = 0.0f;
        tp_draw_weights(m, &table[l]);
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

int tp_set_optimizer(tp_model_t *m, const tp_opt_t *opt, tp_fault_t *fault) {
    int err = tp_check_optimizer(opt, fault);
    if (err) {
        return err;
    }
    if (opt->kind != m->opt.kind) {
        return tp_fail(fault, TP_ERR_RANGE, "optimizer kind (fixed when the model is made)", -1,
            opt->kind, m->opt.kind, m->opt.kind);
    }
    if (tp_keeps_momentum(opt) != tp_keeps_momentum(&m->opt)) {
        return tp_fail(fault, TP_ERR_RANGE,
            "momentum (from or to 0: fixed when the model is made)", -1, opt->momentum,
            m->opt.momentum, m->opt.momentum);
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

// Is leaving out zero columns worth the index?
static bool tp_index_pays(const tp_k_index_t *index, uint32_t n) {
    return index->total * 100u <= n * TP_ZERO_SKIP_PERCENT; // both at most TP_MAX_UNITS
}

// Load x and run all layers; *macs = multiply-accumulates executed.
static int tp_forward(tp_model_t *m, const tp_view_t *x, uint64_t *macs, tp_fault_t *fault) {
    if (x->count != m->n_in) {
        return tp_fail(fault, TP_ERR_SHAPE, "values of x", -1, (float)x->count, m->n_in, m->n_in);
    }
    float *a = tp_at(m, m->off_input);
    const float *scale = tp_at(m, m->off_scale);
    uint32_t bad = 0;
    int err = tp_convert(a, x, scale, scale + m->n_scale, m->n_scale, &bad);
    if (err) {
        return tp_fail(fault, err, "x", -1, (float)bad, 0.0f, 0.0f);
    }
    tp_layer_t *table = tp_table(m);
    *macs = 0;
    for (uint32_t l = 0; l < m->n_layers; l++) {
        tp_layer_t *layer = &table[l];
        const float *w = tp_at(m, layer->off_w);
        const float *b = w + (size_t)layer->n_in * layer->n_out;
        float *out = tp_at(m, layer->off_act);
        tp_k_index_t index;
        tp_k_index_f32(&index, (uint16_t *)tp_at(m, m->off_index), a, layer->n_in);
        if (tp_index_pays(&index, layer->n_in)) {
            tp_k_matvec_index_f32(out, w, a, b, layer->n_out, layer->n_in, &index);
            *macs += (uint64_t)index.total * layer->n_out;
        } else {
            tp_k_matvec_f32(out, w, a, b, layer->n_out, layer->n_in);
            *macs += (uint64_t)layer->n_in * layer->n_out;
        }
        tp_activate(out, layer->n_out, layer->activation, layer->slope);
        a = out;
    }
    return TP_OK;
}

// --- Targets and loss ---

static float tp_target_at(const tp_target_t *y, uint32_t i) {
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
        return tp_fail(fault, TP_ERR_SHAPE, "values of y", -1, (float)y->values.count, (float)n,
            (float)n);
    }
    uint8_t t = y->values.dtype;
    if (t != TP_F32 && t != TP_I32 && t != TP_I16 && t != TP_I8 && t != TP_U8) {
        return tp_fail(fault, TP_ERR_DTYPE, "y", -1, (float)t, 0.0f, 0.0f);
    }
    float sum = 0.0f;
    for (uint32_t i = 0; i < n; i++) {
        float v = tp_target_at(y, i);
        if (!tp_isfinite(v)) {
            return tp_fail(fault, TP_ERR_NONFINITE, "y", -1, (float)i, 0.0f, 0.0f);
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

// Loss of the outputs for y. The scratch holds p or e afterwards, the outputs stay.
static float tp_loss(tp_model_t *m, const tp_target_t *y) {
    const tp_layer_t *last = &tp_table(m)[m->n_layers - 1];
    const float *out = tp_at(m, last->off_act);
    float *scratch = tp_at(m, m->off_scratch);
    return m->loss == TP_SOFTMAX_CROSS_ENTROPY ? tp_cross_entropy(scratch, out, last->n_out, y)
                                               : tp_squared_error(scratch, out, last->n_out, y);
}

// d of the output layer from what tp_loss left in the scratch; takes the place of the outputs.
static void tp_output_delta(tp_model_t *m, const tp_target_t *y) {
    const tp_layer_t *last = &tp_table(m)[m->n_layers - 1];
    uint32_t n = last->n_out;
    float *a = tp_at(m, last->off_act), *d = tp_at(m, m->off_scratch);
    if (m->loss == TP_SOFTMAX_CROSS_ENTROPY) {
        for (uint32_t i = 0; i < n; i++) {
            a[i] = d[i] - tp_target_at(y, i);
        }
        return;
    }
    float factor = 2.0f / (float)n;
    for (uint32_t i = 0; i < n; i++) {
        d[i] = d[i] * factor;
    }
    tp_activate_backward(d, a, n, last->activation, last->slope);
    memcpy(a, d, n * sizeof(float));
}

int tp_predict(tp_model_t *m, const tp_view_t *x, float *out, tp_fault_t *fault) {
    uint64_t macs;
    int err = tp_forward(m, x, &macs, fault);
    if (err) {
        return err;
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
    uint64_t macs;
    int err = tp_check_target(m, y, fault);
    err = err ? err : tp_forward(m, x, &macs, fault);
    if (err) {
        return err;
    }
    float value = tp_loss(m, y);
    if (!tp_isfinite(value)) {
        return tp_fail(fault, TP_ERR_NONFINITE, "loss", -1, value, 0.0f, 0.0f);
    }
    const float *a = tp_layer_output(m, m->n_layers - 1u);
    *loss = value;
    *best = 0;
    for (uint32_t i = 1; i < tp_model_outputs(m); i++) {
        *best = a[i] > a[*best] ? i : *best;
    }
    return TP_OK;
}

// --- Training ---

// Update the kept rows of a layer (d != 0) and, with dx != NULL, dx[i] += d[o] * w_old[o, i].
static void tp_backward_rows(tp_model_t *m, uint32_t l, const float *d, const float *x,
    float *dx) {
    tp_layer_t *layer = &tp_table(m)[l];
    size_t n = layer->n_in;
    tp_k_index_t columns;
    tp_k_index_f32(&columns, (uint16_t *)tp_at(m, m->off_index), x, n);
    const tp_k_index_t *index = tp_index_pays(&columns, layer->n_in) ? &columns : NULL;
    // Behind a ReLU the columns with x == 0 are those whose d becomes 0: dx may skip them too.
    const tp_k_index_t *dx_index =
        index != NULL && l > 0 && tp_table(m)[l - 1].activation == TP_RELU ? index : NULL;
    bool update = layer->trainable == TP_TRAIN_ALL, in_place = tp_optim_in_place(m);
    bool skips_zeros = index != NULL && (in_place || m->batch > 1);
    uint64_t row_macs = (update ? (skips_zeros ? index->total : n) : 0) +
        (dx != NULL ? (dx_index != NULL ? index->total : n) : 0);
    for (uint32_t o = 0; o < layer->n_out; o++) {
        if (d[o] == 0.0f) {
            continue;
        }
        float *w = tp_at(m, layer->off_w) + o * n;
        float g = -(m->opt.lr * d[o]);
        layer->macs += row_macs;
        if (update && in_place && dx != NULL && dx_index == index) {
            if (index != NULL) {
                tp_k_back_update_index_f32(dx, w, x, d[o], g, index);
            } else {
                tp_k_back_update_f32(dx, w, x, d[o], g, n);
            }
            continue;
        }
        if (dx != NULL) {
            if (dx_index != NULL) {
                tp_k_axpy_index_f32(dx, d[o], w, dx_index);
            } else {
                tp_k_axpy_f32(dx, d[o], w, n);
            }
        }
        if (!update) {
            continue;
        }
        if (!in_place) {
            tp_optim_row(m, layer, o, d[o], x, index);
        } else if (index != NULL) {
            tp_k_axpy_index_f32(w, g, x, index);
        } else {
            tp_k_axpy_f32(w, g, x, n);
        }
    }
}

// From the output layer down to the earliest one that trains. d of a layer takes the place of
// its activations.
static void tp_backward(tp_model_t *m, float y) {
    tp_layer_t *table = tp_table(m);
    float *scratch = tp_at(m, m->off_scratch);
    uint32_t first = 0;
    while (table[first].trainable == TP_TRAIN_NONE) {
        first++;
    }
    float y_after = 0.0f;
    for (uint32_t l = m->n_layers; l-- > first;) {
        tp_layer_t *layer = &table[l];
        float *d = tp_at(m, layer->off_act);
        float *x = tp_at(m, l > 0 ? table[l - 1].off_act : m->off_input);
        if (l + 1u < m->n_layers) {
            y = tp_k_sum_abs_f32(d, layer->n_out);
            // An overflow on the way down must not reach the weights: they stay as they are from
            // here on. The loss of the next sample tells whether the model is lost.
            if (!tp_isfinite(y)) {
                return;
            }
        }
        tp_choice_t choice = tp_policy_choose(m, l, y, y_after);
        y_after = y;
        if (layer->trainable != TP_TRAIN_NONE) {
            tp_optim_bias(m, layer, d);
        }
        layer->ratio = choice.ratio;
        layer->k = tp_topk(d, layer->n_out, choice.k, (uint32_t *)scratch);
        layer->k_sum += layer->k;
        if (choice.k < layer->n_out) {
            tp_policy_rescale(m, d, layer->n_out, y);
        }
        bool below = l > first, update = layer->trainable == TP_TRAIN_ALL;
        m->policy_macs +=
            (uint64_t)choice.k * layer->n_in * ((update ? 1u : 0u) + (below ? 1u : 0u));
        float *dx = below ? scratch : NULL;
        if (below) {
            memset(dx, 0, layer->n_in * sizeof(float));
        }
        if (update || below) {
            tp_backward_rows(m, l, d, x, dx);
        }
        if (update) {
            tp_optim_rest(m, layer, d);
        }
        if (below) {
            tp_activate_backward(dx, x, layer->n_in, table[l - 1].activation, table[l - 1].slope);
            memcpy(x, dx, layer->n_in * sizeof(float));
        }
    }
}

int tp_train_step(tp_model_t *m, const tp_view_t *x, const tp_target_t *y, float *loss,
    tp_fault_t *fault) {
    uint64_t macs;
    int err = tp_check_target(m, y, fault);
    err = err ? err : tp_forward(m, x, &macs, fault);
    if (err) {
        return err;
    }
    *loss = tp_loss(m, y);
    if (!tp_isfinite(*loss)) {
        return tp_fail(fault, TP_ERR_NONFINITE, "loss", -1, *loss, 0.0f, 0.0f);
    }
    tp_output_delta(m, y);
    float sum;
    bool train = tp_policy_decide(m, tp_layer_output(m, m->n_layers - 1u), &sum);
    m->seen++;
    m->forward_macs += macs;
    if (train) {
        m->trained++;
        m->batch_trained++;
        m->skips_in_row = 0;
        if (m->batch == 1) {
            tp_optim_begin(m);
        }
        tp_backward(m, sum);
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
    return train ? 1 : 0;
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
        uint64_t n = (uint64_t)table[l].n_in * table[l].n_out;
        macs.forward += n;
        macs.backward += l > 0 ? n + n : n;
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
