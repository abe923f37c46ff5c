// What is allowed, and how big it is: checks of a specification, and the one layout function
// that both planning and using a model go through.
#include <string.h>

#include "tp_internal.h"

// The layout of a block is the same on every core: these fail to compile where it is not.
typedef char tp_head_is_208_bytes[sizeof(tp_model_t) == 208 ? 1 : -1];
typedef char tp_layer_is_64_bytes[sizeof(tp_layer_t) == 64 ? 1 : -1];

int tp_fail(tp_fault_t *fault, int code, const char *what, int32_t layer, float got, float lo,
    float hi) {
    if (fault != NULL) {
        *fault = (tp_fault_t){what, layer, got, lo, hi};
    }
    return code;
}

#define TP_HUGE 3.4028234e38f

// lo <= x <= hi; false for NaN.
static bool tp_within(float x, float lo, float hi) {
    return x >= lo && x <= hi;
}

typedef struct {
    const char *what;
    float got, lo, hi;
} tp_limit_t;

static int tp_check_limits(const tp_limit_t *limits, size_t n, tp_fault_t *fault) {
    for (size_t i = 0; i < n; i++) {
        const tp_limit_t *q = &limits[i];
        if (!tp_within(q->got, q->lo, q->hi)) {
            return tp_fail(fault, TP_ERR_RANGE, q->what, -1, q->got, q->lo, q->hi);
        }
    }
    return TP_OK;
}

#define TP_BELOW_1 0.99999994f
#define TP_COUNT(a) (sizeof(a) / sizeof((a)[0]))

int tp_check_optimizer(const tp_opt_t *opt, tp_fault_t *fault) {
    const tp_limit_t limits[] = {
        {"optimizer kind", (float)opt->kind, TP_SGD, TP_ADAM},
        {"optimizer rows", (float)opt->rows, TP_ROWS_LAZY, TP_ROWS_EXACT},
        {"lr", opt->lr, 1.17549435e-38f, TP_HUGE},
        {"momentum", opt->momentum, 0.0f, TP_BELOW_1},
        {"weight_decay", opt->weight_decay, 0.0f, TP_HUGE},
        {"lr * weight_decay", opt->lr * opt->weight_decay, 0.0f, TP_BELOW_1},
        {"beta_1", opt->beta1, 0.0f, TP_BELOW_1},
        {"beta_2", opt->beta2, 0.0f, TP_BELOW_1},
        {"epsilon", opt->eps, 1.17549435e-38f, TP_HUGE},
    };
    // Only what the kind uses is checked.
    return tp_check_limits(limits, opt->kind == TP_ADAM ? TP_COUNT(limits) : 6, fault);
}

int tp_check_policy(const tp_policy_t *policy, tp_fault_t *fault) {
    const tp_policy_t *p = policy;
    const tp_limit_t kind = {"policy kind", (float)p->kind, TP_FULL, TP_TINYPROPV2};
    int err = tp_check_limits(&kind, 1, fault);
    if (err) {
        return err;
    }
    if (p->kind == TP_TOPK && p->k == 0) {
        const tp_limit_t ratio = {"ratio", p->ratio, 1.17549435e-38f, 1.0f};
        return tp_check_limits(&ratio, 1, fault);
    }
    const tp_limit_t limits[] = {
        {"s_min", p->s_min, 0.0f, 1.0f},
        {"s_max", p->s_max, p->s_min, 1.0f},
        {"zeta", p->zeta, 1.17549435e-38f, 1.0f},
        {"ymax_decay", p->ymax_decay, 1.17549435e-38f, 1.0f},
        {"beta_mode", (float)p->beta_mode, 0.0f, 1.0f},
        {"d_min", p->d_min, 0.0f, TP_HUGE},
        {"d_max", p->d_max, p->d_min, TP_HUGE},
        {"threshold", p->threshold, -TP_HUGE, TP_HUGE},
        {"backoff", (float)p->backoff, 0.0f, (float)TP_BACKOFF_MAX},
    };
    size_t n = p->kind == TP_TINYPROPV2 ? TP_COUNT(limits) : p->kind == TP_TINYPROP ? 5 : 0;
    return tp_check_limits(limits, n, fault);
}

bool tp_keeps_momentum(const tp_opt_t *opt) {
    return opt->kind == TP_ADAM || opt->momentum > 0.0f;
}

static int tp_check_layer(const tp_layer_spec_t *s, uint32_t l, bool last, uint8_t loss,
    tp_fault_t *fault) {
    struct {
        const char *what;
        uint32_t got, lo, hi;
    } limits[] = {
        {"layer kind", s->kind, TP_LAYER_DENSE, TP_LAYER_DENSE},
        {"units", s->units, 1, TP_MAX_UNITS},
        {"activation", s->activation, TP_LINEAR,
            last && loss == TP_SOFTMAX_CROSS_ENTROPY ? TP_LINEAR : TP_TANH},
        {"init", s->init, TP_INIT_AUTO, TP_INIT_ZEROS},
        {"trainable", s->trainable, TP_TRAIN_NONE, TP_TRAIN_ALL},
    };
    for (size_t i = 0; i < TP_COUNT(limits); i++) {
        if (limits[i].got < limits[i].lo || limits[i].got > limits[i].hi) {
            return tp_fail(fault, TP_ERR_RANGE, limits[i].what, (int32_t)l, (float)limits[i].got,
                (float)limits[i].lo, (float)limits[i].hi);
        }
    }
    if (s->activation == TP_LEAKY_RELU && !tp_within(s->slope, 0.0f, TP_BELOW_1)) {
        return tp_fail(fault, TP_ERR_RANGE, "slope", (int32_t)l, s->slope, 0.0f, TP_BELOW_1);
    }
    return TP_OK;
}

static int tp_check_spec(const tp_spec_t *s, tp_fault_t *fault) {
    struct {
        const char *what;
        uint32_t got, lo, hi;
    } limits[] = {
        {"input size", s->n_in, 1, TP_MAX_UNITS},
        {"number of layers", s->n_layers, 1, TP_MAX_LAYERS},
        {"loss", s->loss, TP_SOFTMAX_CROSS_ENTROPY, TP_MEAN_SQUARED_ERROR},
        {"batch_size", s->batch, 1, 65535},
        {"length of the input scale", s->n_scale, 0, s->n_in},
    };
    for (size_t i = 0; i < TP_COUNT(limits); i++) {
        if (limits[i].got < limits[i].lo || limits[i].got > limits[i].hi) {
            return tp_fail(fault, TP_ERR_RANGE, limits[i].what, -1, (float)limits[i].got,
                (float)limits[i].lo, (float)limits[i].hi);
        }
    }
    if (s->n_scale != 0 && s->n_in % s->n_scale != 0) {
        return tp_fail(fault, TP_ERR_SHAPE, "length of the input scale (must divide the input)",
            -1, (float)s->n_scale, (float)s->n_in, (float)s->n_in);
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
        int err = tp_check_layer(&s->layers[l], l, l + 1 == s->n_layers, s->loss, fault);
        if (err) {
            return err;
        }
        any = any || s->layers[l].trainable != TP_TRAIN_NONE;
    }
    if (!any) {
        return tp_fail(fault, TP_ERR_RANGE, "number of trainable layers", -1, 0.0f, 1.0f,
            (float)s->n_layers);
    }
    int err = tp_check_optimizer(&s->opt, fault);
    return err ? err : tp_check_policy(&s->policy, fault);
}

// Hands out bytes one after the other; remembers when an offset no longer fits 32 bits.
typedef struct {
    uint64_t at;
    bool overflow;
} tp_cursor_t;

static uint32_t tp_take(tp_cursor_t *c, uint64_t bytes, uint32_t *sum) {
    uint64_t at = c->at;
    uint64_t end = at + ((bytes + 3u) & ~(uint64_t)3u);
    // 2^31: a size must also fit a signed 32-bit count on every host.
    if (end >= 0x80000000u) {
        c->overflow = true;
        return 0;
    }
    c->at = end;
    *sum += (uint32_t)(end - at);
    return bytes == 0 ? 0 : (uint32_t)at;
}

// The layout of a block, in one place. With table != NULL the offsets are written there.
static int tp_layout(const tp_spec_t *s, tp_plan_t *plan, tp_model_t *m, tp_layer_t *table,
    tp_fault_t *fault) {
    tp_cursor_t c = {0, false};
    tp_model_t head;
    tp_layer_t row;
    memset(plan, 0, sizeof(*plan));
    memset(&head, 0, sizeof(head));
    tp_take(&c, sizeof(tp_model_t) + s->n_layers * sizeof(tp_layer_t), &plan->header);
    head.off_scale = tp_take(&c, s->n_scale * 8u, &plan->header);
    bool momentum = tp_keeps_momentum(&s->opt), adam = s->opt.kind == TP_ADAM;
    for (int pass = 0; pass < 3; pass++) {
        // Pass 0: parameters, 1: optimiser, 2: gradients; then the volatile rest.
        uint64_t n_in = s->n_in;
        for (uint32_t l = 0; l < s->n_layers; l++) {
            const tp_layer_spec_t *spec = &s->layers[l];
            uint64_t out = spec->units, bytes = (n_in + 1u) * out * 4u;
            bool trains = spec->trainable != TP_TRAIN_NONE;
            tp_layer_t *t = table != NULL ? &table[l] : &row;
            if (pass == 0) {
                t->off_w = tp_take(&c, bytes, &plan->parameters);
            } else if (pass == 1) {
                t->off_m = tp_take(&c, trains && momentum ? bytes : 0, &plan->optimizer);
                t->off_v = tp_take(&c, trains && adam ? bytes : 0, &plan->optimizer);
            } else {
                bool sums = trains && s->batch > 1;
                t->off_g = tp_take(&c, sums ? bytes + out : 0, &plan->gradients);
            }
            n_in = out;
        }
    }
    uint64_t persist = c.at;
    uint32_t widest = 0, widest_in = s->n_in;
    head.off_input = tp_take(&c, s->n_in * 4u, &plan->activations);
    for (uint32_t l = 0; l < s->n_layers; l++) {
        uint32_t out = s->layers[l].units;
        tp_layer_t *t = table != NULL ? &table[l] : &row;
        t->off_act = tp_take(&c, out * 4u, &plan->activations);
        widest = out > widest ? out : widest;
        if (l + 1 < s->n_layers) {
            widest_in = out > widest_in ? out : widest_in;
        }
    }
    head.off_scratch = tp_take(&c, widest * 4u, &plan->scratch);
    head.off_index = tp_take(&c, widest_in * 2u, &plan->scratch);
    if (c.overflow) {
        return tp_fail(fault, TP_ERR_SIZE, "bytes of the model", -1, 2147483648.0f, 0.0f,
            2147483647.0f);
    }
    plan->total = (uint32_t)c.at;
    plan->persist = (uint32_t)persist;
    if (m != NULL) {
        m->off_scale = head.off_scale;
        m->off_input = head.off_input;
        m->off_scratch = head.off_scratch;
        m->off_index = head.off_index;
        m->block_bytes = plan->total;
        m->persist_bytes = plan->persist;
    }
    return TP_OK;
}

int tp_plan(const tp_spec_t *spec, tp_plan_t *plan, tp_fault_t *fault) {
    int err = tp_check_spec(spec, fault);
    return err ? err : tp_layout(spec, plan, NULL, NULL, fault);
}

int tp_model_init(void *block, size_t bytes, const tp_spec_t *spec, tp_fault_t *fault) {
    tp_plan_t plan;
    int err = tp_plan(spec, &plan, fault);
    if (err) {
        return err;
    }
    if (bytes < plan.total || ((uintptr_t)block & (TP_BLOCK_ALIGN - 1)) != 0) {
        bool small = bytes < plan.total;
        return tp_fail(fault, TP_ERR_BLOCK, small ? "bytes of the block" : "alignment of the block",
            -1, small ? (float)bytes : (float)((uintptr_t)block & (TP_BLOCK_ALIGN - 1)),
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
    const tp_layer_t *table = tp_table(m);
    uint32_t n_in = m->n_in;
    for (uint32_t l = 0; l < m->n_layers; l++) {
        const tp_layer_t *t = &table[l];
        layers[l] = (tp_layer_spec_t){t->kind, t->activation, t->init, t->trainable, t->n_out,
            t->slope};
        if (t->n_in != n_in || !(t->ymax >= 0.0f) ||
            !tp_isfinite(t->ymax)) {
            return TP_ERR_FORMAT;
        }
        n_in = t->n_out;
    }
    tp_spec_t spec = {m->n_in, m->n_layers, layers, m->loss, m->batch, m->seed, 0, NULL, NULL,
        m->opt, m->policy};
    tp_plan_t plan;
    // The scale vectors lie inside the block: first check that they can.
    if ((uint64_t)sizeof(tp_model_t) + m->n_layers * sizeof(tp_layer_t) + m->n_scale * 8u >
        m->block_bytes || (m->n_scale != 0 && m->off_scale !=
        sizeof(tp_model_t) + m->n_layers * sizeof(tp_layer_t))) {
        return TP_ERR_FORMAT;
    }
    spec.n_scale = m->n_scale;
    spec.scale = tp_at(m, m->off_scale);
    spec.offset = spec.scale + m->n_scale;
    if (tp_plan(&spec, &plan, NULL) != TP_OK) {
        return TP_ERR_FORMAT;
    }
    tp_model_t head = *m;
    tp_layer_t laid[TP_MAX_LAYERS];
    memcpy(laid, table, m->n_layers * sizeof(tp_layer_t));
    tp_layout(&spec, &plan, &head, laid, NULL);
    if (memcmp(&head, m, sizeof(head)) != 0 ||
        memcmp(laid, table, m->n_layers * sizeof(tp_layer_t)) != 0) {
        return TP_ERR_FORMAT;
    }
    if (m->batch_seen >= m->batch || m->batch_trained > m->batch_seen ||
        !tp_within(m->beta1_t, 0.0f, 1.0f) || !tp_within(m->beta2_t, 0.0f, 1.0f)) {
        return TP_ERR_FORMAT;
    }
    size_t first = table[0].off_w;
    size_t floats = (plan.parameters + plan.optimizer) / 4u;
    if (!tp_all_finite(tp_at(m, (uint32_t)first), floats)) {
        return TP_ERR_FORMAT;
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
