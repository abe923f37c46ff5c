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

bool tp_within(float x, float lo, float hi) {
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

int tp_layout(const tp_spec_t *s, tp_plan_t *plan, tp_model_t *m, tp_layer_t *table,
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
