// Parameter updates: in place at batch 1, through a gradient sum at batch > 1.
#include <string.h>

#include "tp_internal.h"

// Weights of a row that train. Moments and sums have these, then those of b.
static size_t tp_weights_of(const tp_model_t *m, const tp_layer_t *layer) {
    uint32_t l = (uint32_t)(layer - (const tp_layer_t *)(m + 1));
    return (size_t)tp_layer_fan_in(m, l) * layer->rows;
}

static uint8_t *tp_row_flags(tp_model_t *m, const tp_layer_t *layer) {
    return (uint8_t *)(tp_at(m, layer->off_g) + tp_weights_of(m, layer) + layer->c);
}

void tp_optim_begin(tp_model_t *m) {
    if (m->opt.kind == TP_ADAM) {
        m->beta1_t = m->beta1_t * m->opt.beta1;
        m->beta2_t = m->beta2_t * m->opt.beta2;
    }
}

bool tp_optim_in_place(const tp_model_t *m) {
    return m->batch == 1 && !tp_keeps_momentum(&m->opt) && m->opt.weight_decay == 0.0f;
}

// One optimiser step for n parameters w, whose moments start at element `at`. The gradient is
// g[i] = d * x[i], or 0 for all i where x is NULL.
static void tp_optim_step(tp_model_t *m, const tp_layer_t *layer, float *w, size_t at, size_t n,
    float d, const float *x, float weight_decay) {
    const tp_opt_t *opt = &m->opt;
    if (opt->kind == TP_ADAM) {
        tp_k_adam_t p = {(opt->lr * tp_sqrtf(1.0f - m->beta2_t)) / (1.0f - m->beta1_t), opt->beta1,
            opt->beta2, opt->eps, weight_decay};
        tp_k_adam_f32(w, tp_at(m, layer->off_m) + at, tp_at(m, layer->off_v) + at, d, x, &p, n);
    } else if (opt->momentum > 0.0f) {
        tp_k_momentum_f32(w, tp_at(m, layer->off_m) + at, d, x, opt->lr, opt->momentum,
            weight_decay, n);
    } else {
        float decay = 1.0f - opt->lr * weight_decay;
        // With no gradient the row itself serves as x: 0 times it adds nothing.
        tp_k_decay_axpy_f32(w, decay, x != NULL ? -(opt->lr * d) : 0.0f, x != NULL ? x : w, n);
    }
}

// A step of the weights of one filter.
static void tp_optim_filter(tp_model_t *m, const tp_layer_t *layer, uint32_t row, float d,
    const float *x) {
    size_t n = tp_layer_fan_in(m, (uint32_t)(layer - tp_table(m)));
    tp_optim_step(m, layer, tp_at(m, layer->off_w) + row * n, row * n, n, d, x,
        m->opt.weight_decay);
}

void tp_optim_row(tp_model_t *m, tp_layer_t *layer, uint32_t row, float d, const float *x,
    const tp_k_index_t *index) {
    if (m->batch == 1) {
        tp_optim_filter(m, layer, row, d, x);
        return;
    }
    size_t n = tp_layer_fan_in(m, (uint32_t)(layer - tp_table(m)));
    float *g = tp_at(m, layer->off_g) + row * n;
    if (index != NULL) {
        tp_k_axpy_index_f32(g, d, x, index);
    } else {
        tp_k_axpy_f32(g, d, x, n);
    }
    tp_row_flags(m, layer)[row] = 1;
}

bool tp_optim_moves_all(const tp_model_t *m) {
    return m->opt.rows == TP_ROWS_EXACT && m->batch == 1 && !tp_optim_in_place(m);
}

void tp_optim_untouched(tp_model_t *m, tp_layer_t *layer, uint32_t row) {
    tp_optim_filter(m, layer, row, 0.0f, NULL);
}

void tp_optim_bias(tp_model_t *m, tp_layer_t *layer, const float *d) {
    size_t at = tp_weights_of(m, layer);
    if (m->batch > 1) {
        tp_k_axpy_f32(tp_at(m, layer->off_g) + at, 1.0f, d, layer->c);
    } else {
        float *b = tp_layer_bias(m, (uint32_t)(layer - tp_table(m)));
        tp_optim_step(m, layer, b, at, layer->c, 1.0f, d, 0.0f);
    }
}

void tp_flush(tp_model_t *m) {
    if (m->batch_trained != 0) {
        tp_optim_begin(m);
        float share = 1.0f / (float)m->batch;
        tp_layer_t *table = tp_table(m);
        for (uint32_t l = 0; l < m->n_layers; l++) {
            tp_layer_t *layer = &table[l];
            if (layer->off_g == 0) {
                continue;
            }
            size_t weights = tp_weights_of(m, layer), outs = layer->c;
            size_t n = tp_layer_fan_in(m, l);
            float *g = tp_at(m, layer->off_g);
            uint8_t *flags = tp_row_flags(m, layer);
            for (size_t i = 0; i < weights + outs; i++) {
                g[i] = g[i] * share;
            }
            for (uint32_t o = 0; o < layer->rows; o++) {
                if (flags[o] || m->opt.rows == TP_ROWS_EXACT) {
                    tp_optim_filter(m, layer, o, 1.0f, g + o * n);
                }
            }
            float *b = tp_layer_bias(m, l);
            tp_optim_step(m, layer, b, weights, outs, 1.0f, g + weights, 0.0f);
            memset(g, 0, (weights + outs) * sizeof(float) + layer->rows);
        }
    }
    m->batch_seen = 0;
    m->batch_trained = 0;
}
