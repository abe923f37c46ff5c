// The life of a model block: made from a specification, or checked when it comes from outside.
#include <string.h>

#include "tp_internal.h"

// The layout of a block is the same on every core: these fail to compile where it is not.
typedef char tp_head_is_208_bytes[sizeof(tp_model_t) == 208 ? 1 : -1];
typedef char tp_layer_is_64_bytes[sizeof(tp_layer_t) == 64 ? 1 : -1];

int tp_model_init(void *block, size_t bytes, const tp_spec_t *spec, tp_fault_t *fault) {
    tp_plan_t plan;
    int err = tp_plan(spec, &plan, fault);
    if (err) {
        return err;
    }
    if (bytes < plan.total || ((uintptr_t)block & (TP_BLOCK_ALIGN - 1)) != 0) {
        bool small = bytes < plan.total;
        return tp_fail(fault, TP_ERR_BLOCK,
            small ? "bytes of the block" : "alignment of the block", -1,
            small ? (float)bytes : (float)((uintptr_t)block & (TP_BLOCK_ALIGN - 1)),
            small ? (float)plan.total : 0.0f, small ? TP_HUGE : 0.0f);
    }
    memset(block, 0, plan.total);
    tp_model_t *m = block;
    m->magic = TP_MAGIC;
    m->n_layers = (uint8_t)spec->n_layers;
    m->loss = spec->loss;
    m->n_in = (uint16_t)spec->n_in;
    m->batch = (uint16_t)spec->batch;
    m->n_scale = (uint16_t)spec->n_scale;
    m->opt = spec->opt;
    m->policy = spec->policy;
    tp_layer_t *table = tp_table(m);
    uint32_t n_in = spec->n_in;
    for (uint32_t l = 0; l < spec->n_layers; l++) {
        const tp_layer_spec_t *s = &spec->layers[l];
        table[l].kind = s->kind;
        table[l].activation = s->activation;
        table[l].init = s->init;
        table[l].trainable = s->trainable;
        table[l].slope = s->slope;
        table[l].n_in = (uint16_t)n_in;
        table[l].n_out = (uint16_t)s->units;
        n_in = s->units;
    }
    tp_layout(spec, &plan, m, table, NULL);
    if (spec->n_scale != 0) {
        float *scale = tp_at(m, m->off_scale);
        memcpy(scale, spec->scale, spec->n_scale * 4u);
        memcpy(scale + spec->n_scale, spec->offset, spec->n_scale * 4u);
    }
    tp_model_reset(m, spec->seed);
    return TP_OK;
}

static bool tp_all_finite(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!tp_isfinite(x[i])) {
            return false;
        }
    }
    return true;
}

int tp_model_check(void *block, size_t bytes) {
    tp_model_t *m = tp_model_get(block, bytes);
    if (m == NULL) {
        tp_model_t *head = block;
        bool small = block != NULL && bytes >= sizeof(tp_model_t) && head->magic == TP_MAGIC &&
            bytes < head->block_bytes;
        return small ? TP_ERR_BLOCK : TP_ERR_FORMAT;
    }
    tp_layer_spec_t layers[TP_MAX_LAYERS];
    tp_layer_t *table = tp_table(m);
    uint32_t n_in = m->n_in;
    for (uint32_t l = 0; l < m->n_layers; l++) {
        const tp_layer_t *t = &table[l];
        layers[l] =
            (tp_layer_spec_t){t->kind, t->activation, t->init, t->trainable, t->n_out, t->slope};
        if (t->n_in != n_in || !(t->ymax >= 0.0f) || !tp_isfinite(t->ymax)) {
            return TP_ERR_FORMAT;
        }
        n_in = t->n_out;
    }
    tp_spec_t spec = {m->n_in, m->n_layers, layers, m->loss, m->batch, m->seed, 0, NULL, NULL,
        m->opt, m->policy};
    tp_plan_t plan;
    // The scale vectors lie inside the block: first check that they can.
    uint32_t fixed = (uint32_t)(sizeof(tp_model_t) + m->n_layers * sizeof(tp_layer_t));
    if ((uint64_t)fixed + m->n_scale * 8u > m->block_bytes ||
        (m->n_scale != 0 && m->off_scale != fixed)) {
        return TP_ERR_FORMAT;
    }
    spec.n_scale = m->n_scale;
    spec.scale = tp_at(m, m->off_scale);
    spec.offset = spec.scale + m->n_scale;
    if (tp_plan(&spec, &plan, NULL) != TP_OK) {
        return TP_ERR_FORMAT;
    }
    // Lay out in place and look whether that changed anything: a second table would take 2 kB of
    // a small stack.
    uint32_t before = tp_crc32(0, m, fixed);
    if (plan.total != m->block_bytes) {
        return TP_ERR_FORMAT;
    }
    tp_layout(&spec, &plan, m, table, NULL);
    if (tp_crc32(0, m, fixed) != before) {
        return TP_ERR_FORMAT;
    }
    if (m->batch_seen >= m->batch || m->batch_trained > m->batch_seen ||
        !tp_within(m->beta1_t, 0.0f, 1.0f) || !tp_within(m->beta2_t, 0.0f, 1.0f)) {
        return TP_ERR_FORMAT;
    }
    if (!tp_all_finite(tp_at(m, table[0].off_w), (plan.parameters + plan.optimizer) / 4u)) {
        return TP_ERR_FORMAT;
    }
    for (uint32_t l = 0; l < m->n_layers; l++) {
        size_t n = ((size_t)table[l].n_in + 1u) * table[l].n_out;
        const float *v = tp_at(m, table[l].off_v);
        for (size_t i = 0; i < n && table[l].off_v != 0; i++) {
            if (v[i] < 0.0f) {
                return TP_ERR_FORMAT;
            }
        }
        if (table[l].off_g != 0 && !tp_all_finite(tp_at(m, table[l].off_g), n)) {
            return TP_ERR_FORMAT;
        }
    }
    memset((uint8_t *)block + m->persist_bytes, 0, m->block_bytes - m->persist_bytes);
    return TP_OK;
}

tp_model_t *tp_model_get(void *block, size_t bytes) {
    tp_model_t *m = block;
    if (m == NULL || ((uintptr_t)block & (TP_BLOCK_ALIGN - 1)) != 0 ||
        bytes < sizeof(tp_model_t) || m->magic != TP_MAGIC || m->block_bytes > bytes ||
        m->persist_bytes > m->block_bytes || m->n_layers == 0 || m->n_layers > TP_MAX_LAYERS ||
        sizeof(tp_model_t) + m->n_layers * sizeof(tp_layer_t) > m->persist_bytes) {
        return NULL;
    }
    return m;
}
