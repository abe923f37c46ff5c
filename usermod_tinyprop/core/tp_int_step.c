// Steps of integer training: noise to round them with, biases, momentum (see tp_int.c).
#include "tp_int.h"

#if TP_INTEGER

uint32_t tp_int_noise(tp_model_t *m, uint32_t l, uint32_t o, int32_t s) {
    return tp_is_i16(m) ? tp_rng_next(m->rng) & (((uint32_t)1 << s) - 1u)
                        : tp_int_turn(m, l, o) >> (32 - s);
}

tp_velocity_t tp_int_velocity(tp_model_t *m, uint32_t l) {
    const tp_layer_t *t = &tp_table(m)[l];
    if (t->off_m == 0) {
        return (tp_velocity_t){NULL, NULL};
    }
    uint32_t bytes = (tp_layer_fan_in(m, l) * t->rows * 2u + 3u) & ~3u;
    return (tp_velocity_t){
        (int16_t *)(void *)tp_at(m, t->off_m), (int32_t *)(void *)tp_at(m, t->off_m + bytes)};
}

// The usual case: one d for each of n biases, a step of lr * d * 2^-shift, 0 < shift <= 30.
static TP_APART void tp_int_bias_steps(tp_model_t *m, int32_t *b, const int32_t *d, size_t n,
    int32_t lr, uint32_t shift) {
    for (const int32_t *end = d + n; d != end; d++, b++) {
        if (*d != 0) {
            int32_t noise = (int32_t)(tp_rng_next(m->rng) >> (32u - shift));
            int32_t step = (noise - lr * *d) >> shift;
            int32_t sum = (int32_t)((uint32_t)*b + (uint32_t)step);
            bool over = ((sum ^ *b) & (sum ^ step)) < 0;
            *b = !over ? sum : step < 0 ? INT32_MIN : INT32_MAX;
        }
    }
}

void tp_int_bias_step(tp_model_t *m, uint32_t l, int32_t *b, tp_mant_t lr) {
    const tp_layer_t *t = &tp_table(m)[l];
    const int32_t *d = tp_int_delta(m, l);
    size_t n = tp_row_size(t), c = t->c;
    int32_t *v = tp_int_velocity(m, l).b;
    int32_t unit = TP_INT_BIAS - (lr.x + tp_model_ranges(m)[l + 1u].e_d);
    if (n == c && v == NULL && unit > 0 && unit <= 30) {
        tp_int_bias_steps(m, b, d, c, lr.m, (uint32_t)unit);
        return;
    }
    for (size_t o = 0; o < c; o++) {
        int32_t g = d[o], s = 0;
        if (n != c) {
            int64_t sum = 0;
            for (size_t i = o; i < n; i += c) {
                sum += d[i];
            }
            s = tp_bit_length((uint64_t)(sum < 0 ? -sum : sum)) - 15;
            s = s > 0 ? s : 0;
            g = (int32_t)(sum >> s);
        }
        if (g == 0 && (v == NULL || v[o] == 0)) {
            continue;
        }
        int64_t step = 0;
        if (v != NULL && v[o] != 0) {
            int64_t kept = (int64_t)v[o] * tp_quantize(m->opt.momentum, -15);
            step = (kept + (tp_rng_next(m->rng) >> 17)) >> 15;
        }
        if (g != 0) {
            step += tp_round_at_random(m, lr.m * g, unit - s);
        }
        if (v != NULL) {
            step = v[o] = tp_saturate(step);
        }
        b[o] = tp_saturate(b[o] + step);
    }
}

void tp_int_momentum_step(tp_model_t *m, uint32_t l, uint32_t o, int32_t p, int32_t e,
    const int16_t *x) {
    bool wide = tp_is_i16(m);
    uint32_t fine = wide ? 3u : 11u; // a velocity's range is an eighth of a weight's
    uint32_t n = tp_layer_fan_in(m, l);
    size_t at = (size_t)o * n;
    e += (int32_t)fine;
    int32_t s = 15 - tp_bit_length((uint64_t)(p < 0 ? -p : p)) - e;
    s = s < 5 ? 5 : s > 29 ? 29 : s;
    int32_t g = p != 0 ? tp_clip(tp_round_at_random(m, p, -(e + s)), 32767) : 0;
    uint32_t noise = tp_rng_next(m->rng) & (((uint32_t)1 << s) - 1u), draw = tp_rng_next(m->rng);
    uint8_t *w = tp_layer_weights(m, l);
    tp_ki_row_t row = {w + at * (wide ? 2u : 1u), g, noise, (uint32_t)s};
    tp_ki_velocity_t q = {tp_int_velocity(m, l).w + at, tp_quantize(m->opt.momentum, -15),
        draw & 32767u, tp_int_turn(m, l, o) >> (32u - fine), fine};
    if (wide) {
        tp_ki_row_momentum_i16(&row, &q, x, n);
    } else {
        tp_ki_row_momentum_i8(&row, &q, x, n);
    }
}

#endif
