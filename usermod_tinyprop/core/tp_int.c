// Integer training: every tensor is integers q with one exponent e, value = q * 2^e. DESIGN.md,
// "Integer numerics", is the definition. Weights and maps are int8 or int16, sums 32 bits wide, d of
// a map int32. A map's exponent grows when a value does not fit (the row is computed again) and
// shrinks when its range is not used. Here: numbers, parameters, ranges, input and loss.
#include "tp_int.h"

#include <string.h>

#if TP_INTEGER

// --- Numbers ---

int32_t tp_bit_length(uint64_t v) {
    uint32_t high = (uint32_t)(v >> 32), w = high != 0 ? high : (uint32_t)v;
    return (high != 0 ? 64 : 32) - (w != 0 ? __builtin_clz(w) : 32);
}

int32_t tp_saturate(int64_t v) {
    return v < INT32_MIN ? INT32_MIN : v > INT32_MAX ? INT32_MAX : (int32_t)v;
}

int32_t tp_shift(int64_t v, int32_t s) {
    int32_t w = (int32_t)v;
    if (s > 0 && w == v) { // the usual case, without 64-bit shifts
        return s > 31 ? 0 : (w >> s) + ((w >> (s - 1)) & 1);
    }
    if (s > 0) {
        s = s > 62 ? 62 : s;
        return tp_saturate((v >> s) + ((v >> (s - 1)) & 1));
    }
    s = s < -31 ? 31 : -s;
    return tp_saturate((int64_t)tp_saturate(v) * ((int64_t)1 << s));
}

tp_mant_t tp_mant(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof(u));
    int32_t e = (int32_t)(u >> 23 & 255u), m = (int32_t)(u & 0x7fffffu) | 0x800000;
    if (e == 0) {
        return (tp_mant_t){0, 0};
    }
    m = (m + 256) >> 9;
    bool carry = m == 32768;
    tp_mant_t r = {carry ? 16384 : m, e - 141 + carry};
    r.m = (u >> 31) != 0 ? -r.m : r.m;
    return r;
}

// q * 2^e for a normal result; 2^e itself may lie outside the normal range.
static float tp_scaled(float q, int32_t e) {
    for (; e > 100; e -= 100) {
        q = q * 1.2676506e30f;
    }
    for (; e < -100; e += 100) {
        q = q * 7.8886091e-31f;
    }
    uint32_t u = (uint32_t)(e + 127) << 23;
    float p;
    memcpy(&p, &u, sizeof(p));
    return q * p;
}

// A finite float as m * 2^x, |m| < 2^24.
static tp_mant_t tp_split(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof(u));
    int32_t e = (int32_t)(u >> 23 & 255u), m = (int32_t)(u & 0x7fffffu);
    m = e != 0 ? m | 0x800000 : m;
    return (tp_mant_t){(u >> 31) != 0 ? -m : m, (e != 0 ? e : 1) - 150};
}

int32_t tp_quantize(float f, int32_t e) {
    tp_mant_t s = tp_split(f);
    return tp_shift(s.m, e - s.x);
}

int32_t tp_round_divide(int64_t v, uint32_t n) {
    uint64_t q = ((uint64_t)(v < 0 ? -v : v) + n / 2u) / n;
    return tp_saturate(v < 0 ? -(int64_t)q : (int64_t)q);
}

int32_t tp_round_at_random(tp_model_t *m, int32_t p, int32_t t) {
    if (t > 30) {
        return 0;
    }
    if (t <= 0) {
        return tp_shift(-(int64_t)p, t);
    }
    return ((int32_t)(tp_rng_next(m->rng) >> (32 - t)) - p) >> t; // |p| <= 2^30
}

// tanh(i / 16) times 16384, 2^(-j / 32) times 32768.
static const uint16_t tp_tanh_table[65] = {0, 1023, 2037, 3036, 4013, 4960, 5871, 6743, 7571, 8353,
    9087, 9771, 10406, 10993, 11533, 12027, 12478, 12888, 13260, 13595, 13898, 14171, 14415, 14634,
    14830, 15005, 15161, 15300, 15423, 15533, 15631, 15718, 15795, 15863, 15923, 15977, 16024,
    16066, 16103, 16136, 16165, 16190, 16213, 16233, 16251, 16266, 16280, 16292, 16303, 16312,
    16321, 16328, 16335, 16341, 16346, 16350, 16354, 16358, 16361, 16363, 16366, 16368, 16370,
    16372, 16373};
static const uint16_t tp_exp2_table[33] = {32768, 32066, 31379, 30706, 30048, 29405, 28774, 28158,
    27554, 26964, 26386, 25821, 25268, 24726, 24196, 23678, 23170, 22674, 22188, 21713, 21247,
    20792, 20347, 19911, 19484, 19066, 18658, 18258, 17867, 17484, 17109, 16743, 16384};

// sigmoid(x) = (1 + tanh(x / 2)) / 2
int32_t tp_int_squash(uint8_t activation, int32_t t, int32_t bits) {
    bool tanh = activation == TP_TANH;
    t = tanh ? tp_clip(t + t, 32767) : t;
    uint32_t u = (uint32_t)(t < 0 ? -t : t), i = u >> 9, f = u & 511u;
    int32_t a = tp_tanh_table[i], b = tp_tanh_table[i + 1u];
    a += ((b - a) * (int32_t)f + 256) >> 9;
    a = t < 0 ? -a : a;
    a = tanh ? a + a : 16384 + a;
    return (a + (1 << (14 - bits))) >> (15 - bits);
}

// --- Where things are ---

tp_range_t *tp_model_ranges(tp_model_t *m) {
    return (tp_range_t *)(void *)tp_at(m, tp_scale_offset(m) + m->n_scale * 8u);
}

// Exponent of an activation whose values lie in -1..1, and of a map at first.
static int8_t tp_unit(const tp_model_t *m) {
    return (int8_t)-tp_map_bits(m);
}

// --- Ranges ---

bool tp_int_grows(tp_model_t *m, uint32_t r, int64_t p, int32_t e_p) {
    tp_range_t *range = &tp_model_ranges(m)[r];
    int32_t limit = (1 << tp_map_bits(m)) - 1, e = range->e_a, q = tp_shift(p, e - e_p);
    if (q <= limit) {
        range->peak = (uint32_t)q > range->peak ? (uint32_t)q : range->peak;
        return false;
    }
    e = e > e_p - 16 ? e : e_p - 16;
    while (e < TP_INT_MOST && tp_shift(p, e - e_p) > limit) {
        e++;
    }
    e = e < TP_INT_MOST ? e : TP_INT_MOST;
    bool other = e != range->e_a;
    range->e_a = (int8_t)e;
    range->peak = other ? 0 : (uint32_t)limit;
    return other;
}

// Whether the exponent of map r follows its values.
static bool tp_has_range(const tp_model_t *m, uint32_t r) {
    const tp_layer_t *t = (const tp_layer_t *)(m + 1) + r - (r > 0);
    return r == 0 ||
        (r < m->n_layers && t->kind != TP_LAYER_MAX_POOL && t->activation < TP_SIGMOID);
}

// Use the room that maps leave free.
void tp_int_shrink_ranges(tp_model_t *m, bool forget) {
    tp_range_t *ranges = tp_model_ranges(m);
    uint32_t low = 3u << (tp_map_bits(m) - 3);
    for (uint32_t r = 0; r <= m->n_layers; r++) {
        tp_range_t *q = &ranges[r];
        if (q->peak == 0 && q->e_a > TP_INT_LEAST && tp_has_range(m, r)) {
            // Nothing, or too small to be seen.
            int32_t e = q->e_a - tp_map_bits(m);
            q->e_a = (int8_t)(e > TP_INT_LEAST ? e : TP_INT_LEAST);
        }
        while (q->peak > 0 && q->peak <= low && q->e_a > TP_INT_LEAST) {
            q->e_a--;
            q->peak <<= 1;
        }
        q->peak = forget ? 0 : q->peak;
    }
}

// --- Parameters ---

// An exponent of weights or of d, as far as it may go.
static int32_t tp_exponent(int32_t e) {
    return e < TP_INT_FINEST ? TP_INT_FINEST : e > TP_INT_COARSEST ? TP_INT_COARSEST : e;
}

// The smallest exponent at which `limit` still fits (i16: takes no more than three quarters of the
// range). The noise of rounded steps grows with the unit of int8, so its range is used to the end.
static int8_t tp_weight_exponent(const tp_model_t *m, float limit) {
    tp_mant_t s = tp_split(limit > 0.0f ? limit : 1.0f);
    for (int64_t room = tp_is_i16(m) ? 12288 : 127; room < s.m; room <<= 1) {
        s.x++;
    }
    return (int8_t)tp_exponent(s.x);
}

void tp_int_begin(tp_model_t *m) {
    tp_range_t *ranges = tp_model_ranges(m);
    for (uint32_t r = 0; r <= m->n_layers; r++) {
        ranges[r] = (tp_range_t){0, tp_unit(m), 0, 0};
    }
}

bool tp_int_check(tp_model_t *m) {
    const tp_range_t *ranges = tp_model_ranges(m);
    int32_t most = (1 << tp_map_bits(m)) - 1;
    for (uint32_t r = 0; r <= m->n_layers; r++) {
        const tp_range_t *q = &ranges[r];
        if (q->e_w != tp_exponent(q->e_w) || q->e_a < TP_INT_LEAST || q->e_a > TP_INT_MOST ||
            q->peak > (uint32_t)most) {
            return false;
        }
    }
    return true;
}

void tp_int_weights_within(tp_model_t *m, uint32_t l, float limit) {
    tp_model_ranges(m)[l + 1u].e_w = tp_weight_exponent(m, limit);
    tp_velocity_t q = tp_int_velocity(m, l);
    if (q.w != NULL) { // in units of the weights
        memset(q.w, 0, (size_t)((uint8_t *)(q.b + tp_table(m)[l].c) - (uint8_t *)q.w));
    }
}

void tp_int_put_weight(tp_model_t *m, uint32_t l, size_t i, float w) {
    int32_t most = tp_is_i16(m) ? INT16_MAX : INT8_MAX;
    int32_t q = tp_quantize(w, tp_model_ranges(m)[l + 1u].e_w);
    tp_store(m, tp_layer_weights(m, l), i, tp_clip(q, most));
}

void tp_int_put_bias(tp_model_t *m, uint32_t l, size_t i, float b) {
    ((int32_t *)tp_layer_bias(m, l))[i] = tp_quantize(b, TP_INT_BIAS);
}

float tp_int_weight(tp_model_t *m, uint32_t l, size_t i) {
    int32_t e = tp_model_ranges(m)[l + 1u].e_w;
    return tp_scaled((float)tp_load(m, tp_layer_weights(m, l), i), e);
}

float tp_int_bias(tp_model_t *m, uint32_t l, size_t i) {
    return tp_scaled((float)((int32_t *)tp_layer_bias(m, l))[i], TP_INT_BIAS);
}

// Where more than one weight in 64 (of int8: in 8) has come close to the end of the range, all are
// halved, one exponent up. A few that are clipped cost less than one bit of all others.
static void tp_grow_weights(tp_model_t *m) {
    size_t share = tp_is_i16(m) ? 64u : 8u;
    for (uint32_t l = 0; l < m->n_layers; l++) {
        const tp_layer_t *t = &tp_table(m)[l];
        void *w = tp_layer_weights(m, l); // at a multiple of 4
        size_t n = t->rows > 0 ? (size_t)tp_layer_fan_in(m, l) * t->c : 0;
        size_t large = n > 0 ? tp_ki_count_large(w, n, tp_is_i16(m)) : 0; // w may be NULL
        if (large * share <= n || tp_model_ranges(m)[l + 1u].e_w >= TP_INT_COARSEST) {
            continue;
        }
        uint32_t draw = 0;
        for (size_t i = 0; i < n; i++) {
            draw = (i & 31u) == 0 ? tp_rng_next(m->rng) : draw >> 1;
            tp_store(m, w, i, (tp_load(m, w, i) + (int32_t)(draw & 1u)) >> 1);
        }
        int16_t *v = tp_int_velocity(m, l).w;
        n = v != NULL ? (size_t)tp_layer_fan_in(m, l) * t->rows : 0;
        for (size_t i = 0; i < n; i++) {
            draw = (i & 31u) == 0 ? tp_rng_next(m->rng) : draw >> 1;
            v[i] = (int16_t)((v[i] + (int32_t)(draw & 1u)) >> 1);
        }
        tp_model_ranges(m)[l + 1u].e_w++;
    }
}

void tp_int_end_step(tp_model_t *m, bool trained) {
    m->listed = 0;
    if (trained && (m->trained & 63u) == 0) {
        tp_grow_weights(m);
    }
    if ((m->seen & (m->seen - 1u)) == 0 || (m->seen & 255u) == 0) {
        tp_int_shrink_ranges(m, true);
    }
}

// --- Input ---

// Integers with scale and offset: v = q * s + o in units of 2^e.
typedef struct {
    tp_mant_t s, o;
    int32_t offset;
} tp_column_t;

static tp_column_t tp_column(const tp_model_t *m, const float *scale, uint32_t j, int32_t e) {
    tp_column_t c = {{1, 0}, {0, 0}, 0};
    if (m->n_scale != 0) {
        c.s = tp_mant(scale[j]);
        c.o = tp_mant(scale[m->n_scale + j]);
        c.offset = tp_shift(c.o.m, e - c.o.x);
    }
    return c;
}

// Integers of at most 16 bits with one scale or none, where neither a product of 15 bits nor a shift
// can overflow: x * m * 2^-s + offset. Returns the largest |v|.
static uint32_t tp_input_simple(tp_model_t *m, const tp_view_t *x, const tp_column_t *c,
    int32_t s) {
    tp_ki_scale_t by = {
        s > 0 ? c->s.m : c->s.m * (1 << -s), s > 0 ? 1 << (s - 1) : 0, s > 0 ? s : 0, c->offset};
    const tp_layer_t *row = tp_table(m);
    uint16_t *columns = (uint16_t *)(void *)tp_at(m, m->off_scratch), *end = columns;
    bool listed = m->zero_skip > 0 && row->kind == TP_LAYER_DENSE && row->source == 0;
    uint32_t most = tp_ki_scale(tp_at(m, m->off_input), tp_is_i16(m), x->data, x->dtype, x->count,
        &by, listed ? &end : NULL);
    m->listed = (uint16_t)(listed ? end - columns + 1 : 0);
    return most;
}

// One pass at the exponent the map has; returns the largest |v|.
static uint32_t tp_input_pass(tp_model_t *m, const tp_view_t *x) {
    int32_t e = tp_model_ranges(m)[0].e_a, most = (1 << tp_map_bits(m)) - 1;
    const float *scale = tp_scale(m);
    tp_column_t c = tp_column(m, scale, 0, e);
    bool many = m->n_scale > 1, small = x->dtype != TP_I32 && x->dtype != TP_F32;
    int32_t s = e - c.s.x, lowest = m->n_scale == 0 ? -14 : 1;
    if (small && !many && s >= lowest && s <= 29 && e < TP_INT_MOST &&
        tp_clip(c.offset, 1 << 29) == c.offset) {
        return tp_input_simple(m, x, &c, s);
    }
    uint8_t *out = (uint8_t *)tp_at(m, m->off_input);
    uint32_t peak = 0;
    m->listed = 0;
    for (uint32_t i = 0, j = 0; i < x->count; i++) {
        int32_t v;
        if (x->dtype == TP_F32) {
            v = tp_quantize(((const float *)x->data)[i], e);
        } else {
            if (many) {
                c = tp_column(m, scale, j, e);
                j = j + 1u == m->n_scale ? 0 : j + 1u;
            }
            v = tp_shift((int64_t)tp_view_int(x, i) * c.s.m, e - c.s.x);
            v = tp_saturate((int64_t)v + c.offset);
        }
        uint32_t size = (uint32_t)(v < 0 ? -(int64_t)v : v);
        peak = size > peak ? size : peak;
        tp_store(m, out, i, tp_clip(v, most));
    }
    return peak;
}

int tp_int_input(tp_model_t *m, const tp_view_t *x, uint32_t *bad) {
    uint8_t t = x->dtype;
    if (t != TP_F32 && t != TP_I32 && t != TP_I16 && t != TP_I8 && t != TP_U8) {
        return TP_ERR_DTYPE;
    }
    for (uint32_t i = 0; t == TP_F32 && i < x->count; i++) {
        if (!tp_isfinite(((const float *)x->data)[i])) {
            *bad = i;
            return TP_ERR_NONFINITE;
        }
    }
    tp_range_t *range = tp_model_ranges(m);
    uint32_t most = (1u << tp_map_bits(m)) - 1u, peak;
    while ((peak = tp_input_pass(m, x)) > most && range->e_a < TP_INT_MOST) {
        int32_t more = tp_bit_length(peak) - tp_map_bits(m);
        more = more > 1 ? more : 1;
        range->e_a = (int8_t)(more < TP_INT_MOST - range->e_a ? range->e_a + more : TP_INT_MOST);
        range->peak = 0;
    }
    peak = peak < most ? peak : most;
    range->peak = peak > range->peak ? peak : range->peak;
    return TP_OK;
}

// --- Loss ---

static int32_t *tp_int_output(tp_model_t *m) {
    return (int32_t *)(void *)tp_at(m, tp_table(m)[m->n_layers - 1u].off_act);
}

// log2(v / 32768), times 32768; v >= 32768.
static int32_t tp_int_log2(uint32_t v) {
    int32_t n = tp_bit_length(v) - 16, f = (int32_t)(v >> n) & 32767;
    int32_t q = 4863 - (f * 1479 >> 15);
    q = 14481 + (f * ((f * q >> 15) - 8755) >> 15);
    return n * 32768 + f + (((f * (32768 - f) >> 15) * q + 16384) >> 15);
}

// p (n) = softmax of o, times 32768; returns the log of the sum behind it, *most = the largest o.
static float tp_int_softmax(int32_t *p, const int32_t *o, uint32_t n, int32_t *most) {
    int32_t max = o[0];
    for (uint32_t i = 1; i < n; i++) {
        max = o[i] > max ? o[i] : max;
    }
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        int32_t t = max - o[i];
        // 23637 / 2^14 is log2(e); 2^-16 counts as nothing.
        uint32_t u = ((uint32_t)(t < 65535 ? t : 65535) * 23637u) >> 14, f = u & 4095u;
        uint32_t a = tp_exp2_table[f >> 7], b = tp_exp2_table[(f >> 7) + 1u];
        a -= ((a - b) * (f & 127u) + 64u) >> 7;
        p[i] = u >> 12 < 16u ? (int32_t)(a >> (u >> 12)) : 0;
        sum += (uint32_t)p[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        // 32768 * 32768 and half a sum of 65535 such fit 32 bits.
        p[i] = (int32_t)(((uint32_t)p[i] * 32768u + sum / 2u) / sum);
    }
    *most = max;
    return (float)tp_int_log2(sum) * 2.11531733e-5f; // log(2) / 32768
}

float tp_int_loss(tp_model_t *m, const tp_target_t *y) {
    const int32_t *o = tp_int_output(m);
    int32_t *d = tp_int_delta(m, m->n_layers - 1u), most;
    uint32_t n = tp_model_outputs(m);
    float s[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (m->loss == TP_SOFTMAX_CROSS_ENTROPY) {
        float log_sum = tp_int_softmax(d, o, n, &most);
        if (y->values.data == NULL) {
            return log_sum + (float)(most - o[y->index]) * 0.000244140625f;
        }
        for (uint32_t i = 0; i < n; i++) {
            float z = log_sum + (float)(most - o[i]) * 0.000244140625f;
            s[i & 3u] += tp_target_at(y, i) * z;
        }
        return (s[0] + s[2]) + (s[1] + s[3]);
    }
    for (uint32_t i = 0; i < n; i++) {
        d[i] = o[i] - tp_clip(tp_quantize(tp_target_at(y, i), TP_INT_OUT), 1 << 23);
        float e = (float)d[i] * 0.000244140625f;
        s[i & 3u] += e * e;
    }
    return ((s[0] + s[2]) + (s[1] + s[3])) / (float)n;
}

void tp_int_predict(tp_model_t *m, float *out) {
    int32_t *o = tp_int_output(m), most;
    uint32_t n = tp_model_outputs(m);
    bool softmax = m->loss == TP_SOFTMAX_CROSS_ENTROPY;
    if (softmax) {
        tp_int_softmax(o, o, n, &most);
    }
    for (uint32_t i = 0; i < n; i++) {
        float v = (float)o[i] * (softmax ? 3.0517578125e-5f : 0.000244140625f);
        memcpy(&o[i], &v, sizeof(v));
        if (out != NULL) {
            out[i] = v;
        }
    }
}

uint32_t tp_int_best(tp_model_t *m) {
    const int32_t *o = tp_int_output(m);
    uint32_t best = 0;
    for (uint32_t i = 1; i < tp_model_outputs(m); i++) {
        best = o[i] > o[best] ? i : best;
    }
    return best;
}

// --- Errors ---

// d (n) to 15 bits, `bits` those of all |d|; its exponent.
static int32_t tp_int_narrow(int32_t *d, uint32_t n, int32_t e, uint32_t bits) {
    int32_t s = tp_bit_length(bits) - 15;
    if (s <= 0) {
        return e;
    }
    tp_ki_narrow(d, n, (uint32_t)s);
    return e + s;
}

static uint32_t tp_int_bits(const int32_t *d, uint32_t n) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < n; i++) {
        bits |= d[i] < 0 ? 0u - (uint32_t)d[i] : (uint32_t)d[i];
    }
    return bits;
}

int32_t tp_int_normalise(int32_t *d, uint32_t n, int32_t e) {
    return tp_int_narrow(d, n, e, tp_int_bits(d, n));
}

TP_APART void tp_int_scale(int32_t *d, uint32_t n, int32_t f) {
    for (uint32_t i = 0; i < n; i++) {
        d[i] = (d[i] * f + 16384) >> 15;
    }
}

int32_t tp_int_derive(const tp_model_t *m, const tp_layer_t *t, int32_t *d, const void *a,
    uint32_t n, int32_t e, bool out) {
    int32_t bits = out ? -TP_INT_OUT : tp_map_bits(m), slope = tp_quantize(t->slope, -15);
    uint8_t f = t->activation;
    if (f == TP_RELU && !out) {
        uint32_t left = tp_is_i16(m) ? tp_ki_relu_d_i16(d, a, n) : tp_ki_relu_d_i8(d, a, n);
        e = tp_int_narrow(d, n, e, left);
    } else {
        for (uint32_t i = 0; i < n && f == TP_RELU; i++) {
            d[i] = ((const int32_t *)a)[i] > 0 ? d[i] : 0;
        }
        e = tp_int_normalise(d, n, e);
    }
    for (uint32_t i = 0; i < n && f > TP_RELU; i++) {
        int32_t v = out ? ((const int32_t *)a)[i] : tp_load(m, a, i);
        int32_t factor = 32768;
        if (f == TP_LEAKY_RELU) {
            factor = v > 0 ? factor : slope;
        } else if (f == TP_SIGMOID) {
            factor = tp_shift(v * ((1 << bits) - v), 2 * bits - 15);
        } else {
            factor -= tp_shift(v * v, 2 * bits - 15);
        }
        d[i] = factor == 32768 ? d[i] : (d[i] * factor + 16384) >> 15;
    }
    int32_t to = tp_exponent(e);
    for (uint32_t i = 0; i < n && to != e; i++) {
        d[i] = tp_clip(tp_shift(d[i], to - e), 32767);
    }
    return to;
}

void tp_int_output_delta(tp_model_t *m, const tp_target_t *y) {
    const tp_layer_t *last = &tp_table(m)[m->n_layers - 1u];
    tp_range_t *range = &tp_model_ranges(m)[m->n_layers];
    uint32_t n = tp_model_outputs(m);
    int32_t *d = tp_int_delta(m, m->n_layers - 1u);
    if (m->loss == TP_SOFTMAX_CROSS_ENTROPY) {
        for (uint32_t i = 0; i < n; i++) {
            int32_t t = y->values.data != NULL ? tp_quantize(tp_target_at(y, i), -15)
                : y->index == (int32_t)i       ? 32768
                                               : 0;
            d[i] = tp_clip(d[i] - t, 32767);
        }
        range->e_d = -15;
        return;
    }
    int32_t e = tp_int_derive(m, last, d, tp_int_output(m), n, TP_INT_OUT, true);
    tp_mant_t share = tp_mant(2.0f / (float)n);
    tp_int_scale(d, n, share.m);
    range->e_d = (int16_t)(e + 15 + share.x);
}

float tp_int_sum_abs(tp_model_t *m, uint32_t l) {
    const int32_t *d = tp_int_delta(m, l);
    uint32_t n = tp_row_size(&tp_table(m)[l]);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n;) {
        uint32_t some = n - i < 65536u ? n - i : 65536u; // so many of 15 bits fit
        sum += tp_ki_sum_abs(d + i, some);
        i += some;
    }
    int32_t over = tp_bit_length(sum) - 32;
    over = over > 0 ? over : 0;
    return tp_scaled((float)(uint32_t)(sum >> over), tp_model_ranges(m)[l + 1u].e_d + over);
}

#endif
