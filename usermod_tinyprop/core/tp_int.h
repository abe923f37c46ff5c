// Shared by the files of integer training: numbers, where things are, ranges.
#ifndef TP_INT_H
#define TP_INT_H

#include "../kernels/tp_kernels_int.h"
#include "tp_internal.h"

#define TP_INT_BIAS (-20) // exponent of b
#define TP_INT_OUT (-12)  // exponent of what the last row gives
// Exponents of maps lie between these; a value that is still too large is clipped.
#define TP_INT_LEAST (-30)
#define TP_INT_MOST 100
// Those of weights and of d.
#define TP_INT_FINEST (-60)
#define TP_INT_COARSEST 20

// Large functions with one caller: apart, each has the registers for itself.
#define TP_APART __attribute__((noinline))

// Significant bits of v.
int32_t tp_bit_length(uint64_t v);
int32_t tp_saturate(int64_t v);

static inline int32_t tp_clip(int32_t v, int32_t limit) {
    return v < -limit ? -limit : v > limit ? limit : v;
}

// v * 2^-s, rounded (halves up), saturated.
int32_t tp_shift(int64_t v, int32_t s);

// f ~ m * 2^x with 15 bits of m; 0 for what is no normal number.
typedef struct {
    int32_t m, x;
} tp_mant_t;
tp_mant_t tp_mant(float f);

// f / 2^e, rounded to an integer and saturated.
int32_t tp_quantize(float f, int32_t e);

// round(v / n), halves away from 0.
int32_t tp_round_divide(int64_t v, uint32_t n);

// floor((-p + a random number below 2^t) / 2^t): p / -2^t on average. The generator is asked only
// where 0 < t <= 30; for larger t the result is 0.
int32_t tp_round_at_random(tp_model_t *m, int32_t p, int32_t t);

// tanh or sigmoid of t * 2^-12, times 2^bits; |t| < 32768.
int32_t tp_int_squash(uint8_t activation, int32_t t, int32_t bits);

static inline bool tp_is_i16(const tp_model_t *m) {
    return m->dtype == TP_I16;
}

// Bits of a value of a map.
static inline int32_t tp_map_bits(const tp_model_t *m) {
    return tp_is_i16(m) ? 10 : 7;
}

static inline int32_t tp_load(const tp_model_t *m, const void *map, size_t i) {
    return tp_is_i16(m) ? ((const int16_t *)map)[i] : ((const int8_t *)map)[i];
}

static inline void tp_store(const tp_model_t *m, void *map, size_t i, int32_t v) {
    if (tp_is_i16(m)) {
        ((int16_t *)map)[i] = (int16_t)v;
    } else {
        ((int8_t *)map)[i] = (int8_t)v;
    }
}

static inline int32_t *tp_int_delta(tp_model_t *m, uint32_t l) {
    return (int32_t *)(void *)tp_at(m, tp_table(m)[l].off_d);
}

// p = the largest |v|, value v * 2^e_p. Makes it fit into map r; true: its exponent is another one
// now, the map has to be computed anew.
bool tp_int_grows(tp_model_t *m, uint32_t r, int64_t p, int32_t e_p);

// d (n) to 15 bits; its exponent.
int32_t tp_int_normalise(int32_t *d, uint32_t n, int32_t e);
// d (n) * f * 2^-15
void tp_int_scale(int32_t *d, uint32_t n, int32_t f);
// dLoss/da (n), exponent e, becomes dLoss/dz with 15 bits; a: the outputs of row t, `out`: of the
// last one. Returns the exponent.
int32_t tp_int_derive(const tp_model_t *m, const tp_layer_t *t, int32_t *d, const void *a,
    uint32_t n, int32_t e, bool out);

// tp_int_step.c
// Where the noise of filter o begins in this step, uniform in 32 bits: moves on by the same part of
// the range in every step, so that what was rounded away of small steps soon comes back.
static inline uint32_t tp_int_turn(const tp_model_t *m, uint32_t l, uint32_t o) {
    return tp_hash((l << 16) + o) + (uint32_t)m->trained * 0xc13fa9a9u;
}
// Noise, s bits, that a step of filter o of row l begins with.
uint32_t tp_int_noise(tp_model_t *m, uint32_t l, uint32_t o, int32_t s);
// What momentum keeps of row l: the last steps of the weights that train (rows, K), in units of an
// eighth of their range / 2^15, and those of b in its own. NULL without momentum.
typedef struct {
    int16_t *w;
    int32_t *b;
} tp_velocity_t;
tp_velocity_t tp_int_velocity(tp_model_t *m, uint32_t l);
void tp_int_bias_step(tp_model_t *m, uint32_t l, int32_t *b, tp_mant_t lr);
// The velocity of filter o takes -p * x * 2^e in units of a weight; the weights follow it.
void tp_int_momentum_step(tp_model_t *m, uint32_t l, uint32_t o, int32_t p, int32_t e,
    const int16_t *x);

#endif
