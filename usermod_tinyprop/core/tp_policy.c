// Which samples train and how many rows of a layer: TopK, TinyProp, TinyPropV2 (formulas in tp.h).
#include "tp_internal.h"

// alpha = Y / Ymax after Ymax has seen Y; 0 where nothing was ever wrong.
static float tp_relative_error(tp_layer_t *layer, float y) {
    if (y > layer->ymax) {
        layer->ymax = y;
    }
    return layer->ymax > 0.0f ? y / layer->ymax : 0.0f;
}

bool tp_policy_decide(tp_model_t *m, float y) {
    const tp_policy_t *p = &m->policy;
    if (p->kind != TP_TINYPROPV2) {
        return true;
    }
    float alpha = tp_relative_error(&tp_table(m)[m->n_layers - 1], y), beta = 1.0f;
    if (p->beta_mode == 1) {
        beta = alpha;
        alpha = 1.0f;
    }
    float decision = (p->d_min + alpha * (p->d_max - p->d_min)) * beta;
    return decision > p->threshold || m->seen < p->warmup ||
        (p->max_skips != 0 && m->skips_in_row >= p->max_skips);
}

// Layers with weights behind row l.
static uint32_t tp_distance(const tp_model_t *m, uint32_t l) {
    const tp_layer_t *table = (const tp_layer_t *)(m + 1);
    uint32_t n = 0;
    while (++l < m->n_layers) {
        n += tp_has_weights(table[l].kind);
    }
    return n;
}

tp_choice_t tp_policy_choose(tp_model_t *m, uint32_t l, uint32_t n, float y, float y_after) {
    const tp_policy_t *p = &m->policy;
    tp_layer_t *layer = &tp_table(m)[l];
    uint32_t k = n;
    uint32_t pos = tp_distance(m, l);
    bool output = pos == 0;
    float s = 1.0f;
    if (p->kind == TP_TOPK && !output) {
        k = p->k != 0 ? p->k : (uint32_t)((float)n * p->ratio + 0.5f);
        k = k < 1 ? 1 : k > n ? n : k;
        s = (float)k / (float)n;
    } else if (p->kind >= TP_TINYPROP) {
        float alpha = tp_relative_error(layer, y), beta = 1.0f;
        if (p->beta_mode == 1) {
            beta = alpha;
            alpha = output || y >= y_after ? 1.0f : y / y_after;
        } else {
            for (; pos > 0; pos--) {
                beta = beta * p->zeta;
            }
        }
        if (!(output && p->dense_output)) {
            s = layer->ymax > 0.0f ? (p->s_min + alpha * (p->s_max - p->s_min)) * beta : p->s_min;
            k = (uint32_t)((float)n * s + 0.5f);
            k = k < 1 ? 1 : k > n ? n : k;
        }
    }
    return (tp_choice_t){k, s};
}

void tp_policy_rescale(const tp_model_t *m, float *d, uint32_t n, float y) {
    if (!m->policy.rescale) {
        return;
    }
    float kept = tp_k_sum_abs_f32(d, n);
    if (kept == 0.0f || kept == y) {
        return;
    }
    float factor = y / kept;
    for (uint32_t i = 0; i < n; i++) {
        d[i] = d[i] * factor;
    }
}
