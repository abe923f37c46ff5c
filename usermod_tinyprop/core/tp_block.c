// The life of a model block: made from a specification, or checked when it comes from outside.
#include <string.h>

#include "tp_internal.h"

// The layout of a block is the same on every core: these fail to compile where it is not.
typedef char tp_head_is_208_bytes[sizeof(tp_model_t) == 208 ? 1 : -1];
typedef char tp_layer_is_80_bytes[sizeof(tp_layer_t) == 80 ? 1 : -1];

int tp_model_init(void *block, size_t bytes, const tp_spec_t *spec, tp_fault_t *fault) {
    tp_plan_t plan;
    int err = tp_plan(spec, &plan, fault);
    if (err) {
        return err;
    }
    if (bytes < plan.total || ((uintptr_t)block & (TP_BLOCK_ALIGN - 1)) != 0) {
        bool small = bytes < plan.total;
        return tp_fail_count(fault, TP_ERR_BLOCK,
            small ? "bytes of the block" : "alignment of the block", -1,
            (uint32_t)(small ? bytes : (uintptr_t)block & (TP_BLOCK_ALIGN - 1)),
            small ? plan.total : 0, small ? UINT32_MAX : 0);
    }
    memset(block, 0, plan.total);
    tp_model_t *m = block;
    m->magic = TP_MAGIC;
    m->n_layers = (uint8_t)spec->n_layers;
    m->loss = spec->loss;
    m->keep = spec->keep;
    m->zero_skip = spec->zero_skip;
    m->h = (uint16_t)spec->h;
    m->w = (uint16_t)spec->w;
    m->c = (uint16_t)spec->c;
    m->batch = (uint16_t)spec->batch;
    m->n_scale = (uint16_t)spec->n_scale;
    m->opt = spec->opt;
    m->policy = spec->policy;
    m->dtype = spec->dtype == TP_F32 ? 0 : spec->dtype;
    tp_layout(spec, &plan, m, tp_table(m), NULL);
    if (spec->n_scale != 0) {
        memcpy(tp_scale(m), spec->scale, spec->n_scale * 4u);
        memcpy(tp_scale(m) + spec->n_scale, spec->offset, spec->n_scale * 4u);
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

bool tp_model_spec(tp_model_t *m, tp_spec_t *spec, tp_layer_spec_t *layers) {
    memset(layers, 0, m->n_layers * sizeof(*layers));
    for (uint32_t l = 0; l < m->n_layers; l++) {
        const tp_layer_t *t = &tp_table(m)[l];
        tp_layer_spec_t *s = &layers[l];
        // Fields that follow each other in the same order in both.
        memcpy(&s->kind, &t->kind, 4); // kind, activation, init, trainable
        memcpy(&s->kernel_h, &t->kernel_h, 6); // to select
        s->units = t->c;
        if (TP_MAPS && t->kind == TP_LAYER_DEPTHWISE) {
            // A damaged row may name a source that does not exist; the check of the plan sees it.
            uint32_t channels = t->source <= l ? tp_map_shape(m, t->source).c : 0;
            s->units = channels != 0 ? t->c / channels : 0;
        }
        s->slope = t->slope;
        s->source = t->source != 0 ? t->source : TP_FROM_INPUT;
        s->other = t->other != 0 ? t->other : TP_FROM_INPUT;
        s->rows = t->rows;
        s->external = t->flags / TP_ROW_EXTERNAL % 2u;
        s->recompute = t->again != 0;
    }
    const float *scale = tp_scale(m);
    *spec = (tp_spec_t){m->h, m->w, m->c, m->n_layers, layers, m->loss, m->keep, m->zero_skip,
        m->batch, m->seed, m->n_scale, scale, scale + m->n_scale, m->opt, m->policy, m->dtype};
    return (uint64_t)tp_scale_offset(m) + m->n_scale * 8u <= m->block_bytes;
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
    for (uint32_t l = 0; l < m->n_layers; l++) {
        if (!tp_within(table[l].ymax, 0.0f, TP_HUGE)) {
            return TP_ERR_FORMAT;
        }
    }
    tp_spec_t spec;
    tp_plan_t plan;
    int err = tp_model_spec(m, &spec, layers) ? tp_plan(&spec, &plan, NULL) : TP_ERR_FORMAT;
    if (err != TP_OK) {
        return err == TP_ERR_FEATURE ? err : TP_ERR_FORMAT;
    }
    uint32_t fixed = tp_scale_offset(m);
    // Lay out in place and look whether that changed anything: a second table would take 3 kB of
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
    const float *first = tp_at(m, fixed + m->n_scale * 8u);
    if (tp_is_int(m) ? !tp_int_check(m)
                     : !tp_all_finite(first, (plan.parameters + plan.optimizer) / 4u)) {
        return TP_ERR_FORMAT;
    }
    for (uint32_t l = 0; l < m->n_layers; l++) {
        size_t n = (size_t)tp_layer_fan_in(m, l) * table[l].rows + table[l].c;
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
