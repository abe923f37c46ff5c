// Inner loops for x86-64: vectors of four floats are the four lanes; integers go by eights and
// sixteens. Equal to tp_kernels_generic.c and tp_kernels_int.c bit for bit.
#include "tp_kernels.h"
#include "tp_kernels_int.h"

#if TP_KERNELS_SSE2

#include <emmintrin.h>

#define LOAD(p) _mm_loadu_ps(p)
#define STORE(p, v) _mm_storeu_ps(p, v)
// a + b * c
#define MAC(a, b, c) _mm_add_ps(a, _mm_mul_ps(b, c))

// z = the lane sum of s and of the columns of a row from i on, + b
static float tp_row_end(__m128 s, const float *w, const float *x, size_t i, size_t cols, float b) {
    float lane[4];
    STORE(lane, s);
    for (; i < cols; i++) {
        lane[i & 3u] += w[i] * x[i];
    }
    return ((lane[0] + lane[2]) + (lane[1] + lane[3])) + b;
}

float tp_k_sum_abs_f32(const float *x, size_t n) {
    const __m128 mask = _mm_castsi128_ps(_mm_set1_epi32(0x7fffffff));
    __m128 s = _mm_setzero_ps();
    size_t whole = n & ~(size_t)3u;
    for (size_t i = 0; i < whole; i += 4u) {
        s = _mm_add_ps(s, _mm_and_ps(mask, LOAD(x + i)));
    }
    float lane[4];
    STORE(lane, s);
    for (size_t i = whole; i < n; i++) {
        lane[i & 3u] += __builtin_fabsf(x[i]);
    }
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

void tp_k_matvec_f32(float *z, const float *w, const float *x, const float *b, size_t rows,
    size_t cols) {
    size_t o = 0, whole = cols & ~(size_t)7u;
    for (; o + 4u <= rows; o += 4u, w += 4u * cols) {
        const float *w1 = w + cols, *w2 = w1 + cols, *w3 = w2 + cols;
        __m128 s0 = _mm_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
        for (size_t i = 0; i < whole; i += 8u) {
            __m128 x0 = LOAD(x + i), x4 = LOAD(x + i + 4u);
            s0 = MAC(MAC(s0, LOAD(w + i), x0), LOAD(w + i + 4u), x4);
            s1 = MAC(MAC(s1, LOAD(w1 + i), x0), LOAD(w1 + i + 4u), x4);
            s2 = MAC(MAC(s2, LOAD(w2 + i), x0), LOAD(w2 + i + 4u), x4);
            s3 = MAC(MAC(s3, LOAD(w3 + i), x0), LOAD(w3 + i + 4u), x4);
        }
        z[o] = tp_row_end(s0, w, x, whole, cols, b[o]);
        z[o + 1u] = tp_row_end(s1, w1, x, whole, cols, b[o + 1u]);
        z[o + 2u] = tp_row_end(s2, w2, x, whole, cols, b[o + 2u]);
        z[o + 3u] = tp_row_end(s3, w3, x, whole, cols, b[o + 3u]);
    }
    for (; o < rows; o++, w += cols) {
        __m128 s = _mm_setzero_ps();
        for (size_t i = 0; i < whole; i += 8u) {
            s = MAC(MAC(s, LOAD(w + i), LOAD(x + i)), LOAD(w + i + 4u), LOAD(x + i + 4u));
        }
        z[o] = tp_row_end(s, w, x, whole, cols, b[o]);
    }
}

void tp_k_axpy_f32(float *restrict y, float a, const float *restrict x, size_t n) {
    __m128 a4 = _mm_set1_ps(a);
    size_t i = 0;
    for (; i + 16u <= n; i += 16u) {
        for (size_t j = i; j < i + 16u; j += 4u) {
            STORE(y + j, MAC(LOAD(y + j), a4, LOAD(x + j)));
        }
    }
    for (; i < n; i++) {
        y[i] = y[i] + a * x[i];
    }
}

void tp_k_four_dx_f32(float *restrict dx, float *const rows[4], const float d[4], size_t n) {
    const float *w0 = rows[0], *w1 = rows[1], *w2 = rows[2], *w3 = rows[3];
    __m128 d0 = _mm_set1_ps(d[0]), d1 = _mm_set1_ps(d[1]);
    __m128 d2 = _mm_set1_ps(d[2]), d3 = _mm_set1_ps(d[3]);
    size_t i = 0;
    for (; i + 8u <= n; i += 8u) {
        for (size_t j = i; j < i + 8u; j += 4u) {
            __m128 sum = MAC(MAC(LOAD(dx + j), d0, LOAD(w0 + j)), d1, LOAD(w1 + j));
            STORE(dx + j, MAC(MAC(sum, d2, LOAD(w2 + j)), d3, LOAD(w3 + j)));
        }
    }
    for (; i < n; i++) {
        dx[i] = (((dx[i] + d[0] * w0[i]) + d[1] * w1[i]) + d[2] * w2[i]) + d[3] * w3[i];
    }
}

void tp_k_four_update_f32(float *const rows[4], const float g[4], const float *restrict x,
    size_t n) {
    float *restrict w0 = rows[0], *restrict w1 = rows[1];
    float *restrict w2 = rows[2], *restrict w3 = rows[3];
    __m128 g0 = _mm_set1_ps(g[0]), g1 = _mm_set1_ps(g[1]);
    __m128 g2 = _mm_set1_ps(g[2]), g3 = _mm_set1_ps(g[3]);
    size_t i = 0;
    for (; i + 8u <= n; i += 8u) {
        for (size_t j = i; j < i + 8u; j += 4u) {
            __m128 x4 = LOAD(x + j);
            STORE(w0 + j, MAC(LOAD(w0 + j), g0, x4));
            STORE(w1 + j, MAC(LOAD(w1 + j), g1, x4));
            STORE(w2 + j, MAC(LOAD(w2 + j), g2, x4));
            STORE(w3 + j, MAC(LOAD(w3 + j), g3, x4));
        }
    }
    for (; i < n; i++) {
        w0[i] = w0[i] + g[0] * x[i];
        w1[i] = w1[i] + g[1] * x[i];
        w2[i] = w2[i] + g[2] * x[i];
        w3[i] = w3[i] + g[3] * x[i];
    }
}

#endif

#if TP_KERNELS_SSE2_INT

#include <emmintrin.h>

// Columns whose sums of products fit 32 bits: int8 weights are in the upper halves of 16 bits there.
#define TP_BLOCK_I8 1024u
#define TP_BLOCK_I16 256u

static inline __m128i tp_load(const void *p) {
    return _mm_loadu_si128((const __m128i *)p);
}

static inline void tp_store(void *p, __m128i v) {
    _mm_storeu_si128((__m128i *)p, v);
}

// Bytes as 16 bits.
static inline __m128i tp_bytes(const int8_t *x) {
    __m128i v = _mm_loadl_epi64((const __m128i *)x);
    return _mm_srai_epi16(_mm_unpacklo_epi8(v, v), 8);
}

// Where more than a sixteenth of the inputs are not zero, all columns take less time than an index.
static const tp_ki_index_t *tp_worth(const tp_ki_index_t *index, size_t cols) {
    return index != NULL && index->total * 16u < cols ? index : NULL;
}

static inline __m128i tp_mac_i8(__m128i s, const int8_t *w, __m128i even, __m128i odd) {
    __m128i v = tp_load(w);
    s = _mm_add_epi32(s, _mm_madd_epi16(_mm_slli_epi16(v, 8), even));
    return _mm_add_epi32(s, _mm_madd_epi16(_mm_and_si128(v, _mm_set1_epi16(-256)), odd));
}

static inline __m128i tp_mac_i16(__m128i s, const int16_t *w, __m128i x) {
    return _mm_add_epi32(s, _mm_madd_epi16(tp_load(w), x));
}

// The four sums together.
static inline int64_t tp_sum_i8(__m128i s) {
    int32_t lane[4];
    tp_store(lane, _mm_srai_epi32(s, 8));
    return (lane[0] + lane[1]) + (lane[2] + lane[3]);
}

static inline int64_t tp_sum_i16(__m128i s) {
    int32_t lane[4];
    tp_store(lane, s);
    return ((int64_t)lane[0] + lane[1]) + ((int64_t)lane[2] + lane[3]);
}

// X: what a vector of inputs becomes, ARGUMENTS of tp_mac.
#define X_I8(at) \
    __m128i v = tp_load(at), even = _mm_srai_epi16(_mm_slli_epi16(v, 8), 8), \
            odd = _mm_srai_epi16(v, 8);
#define ARGUMENTS_I8 even, odd
#define X_I16(at) __m128i v = tp_load(at);
#define ARGUMENTS_I16 v

#define TP_MATVEC(name, type, block, X, ARGUMENTS) \
    static void tp_matvec_##name(int32_t *z, const type *w, const type *x, size_t rows, \
        size_t cols, uint32_t shift, const tp_ki_index_t *index) { \
        const size_t some = 16u / sizeof(type); \
        const __m128i zero = _mm_setzero_si128(); \
        index = tp_worth(index, cols); \
        for (size_t taken; rows > 0; rows -= taken, z += taken, w += taken * cols) { \
            const type *w1 = w + cols, *w2 = w1 + cols, *w3 = w2 + cols; \
            int64_t sums[4] = {0}; \
            size_t i = 0, whole = index == NULL ? cols & ~(some - 1u) : 0; \
            taken = rows >= 4u ? 4u : 1u; \
            while (i < whole) { \
                size_t to = whole - i < (block) ? whole : i + (block); \
                __m128i s0 = zero, s1 = zero, s2 = zero, s3 = zero; \
                if (taken == 4u) { \
                    for (; i < to; i += some) { \
                        X(x + i) \
                        s0 = tp_mac_##name(s0, w + i, ARGUMENTS); \
                        s1 = tp_mac_##name(s1, w1 + i, ARGUMENTS); \
                        s2 = tp_mac_##name(s2, w2 + i, ARGUMENTS); \
                        s3 = tp_mac_##name(s3, w3 + i, ARGUMENTS); \
                    } \
                    sums[1] += tp_sum_##name(s1); \
                    sums[2] += tp_sum_##name(s2); \
                    sums[3] += tp_sum_##name(s3); \
                } else { \
                    for (; i < to; i += some) { \
                        X(x + i) \
                        s0 = tp_mac_##name(s0, w + i, ARGUMENTS); \
                    } \
                } \
                sums[0] += tp_sum_##name(s0); \
            } \
            size_t n = index != NULL ? index->total : cols; \
            for (size_t r = 0; r < taken; r++) { \
                for (size_t j = i; j < n; j++) { \
                    size_t at = index != NULL ? index->columns[j] : j; \
                    sums[r] += w[r * cols + at] * x[at]; \
                } \
                z[r] = (int32_t)(sums[r] >> shift); \
            } \
        } \
    }
TP_MATVEC(i8, int8_t, TP_BLOCK_I8, X_I8, ARGUMENTS_I8)
TP_MATVEC(i16, int16_t, TP_BLOCK_I16, X_I16, ARGUMENTS_I16)

void tp_ki_matvec_i8(int32_t *z, const int8_t *w, const int8_t *x, size_t rows, size_t cols,
    const tp_ki_index_t *index) {
    tp_matvec_i8(z, w, x, rows, cols, 0, index);
}

void tp_ki_matvec_i16(int32_t *z, const int16_t *w, const int16_t *x, size_t rows, size_t cols,
    uint32_t shift, const tp_ki_index_t *index) {
    tp_matvec_i16(z, w, x, rows, cols, shift, index);
}

// The noise of columns i, i + 1, .. of a row, where two share one value: four at a time.
typedef struct {
    __m128i now, step, mask, shift;
} tp_noise_t;

static inline tp_noise_t tp_noise_from(uint32_t noise, uint32_t shift) {
    int32_t u = (int32_t)noise, step = (int32_t)tp_ki_noise_step(shift);
    return (tp_noise_t){_mm_set_epi32(u + step, u + step, u, u), _mm_set1_epi32(2 * step),
        _mm_set1_epi32((int32_t)((1u << shift) - 1u)), _mm_cvtsi32_si128((int32_t)shift)};
}

// (products + noise) >> shift
static inline __m128i tp_rounded(__m128i products, tp_noise_t *q) {
    __m128i noise = _mm_and_si128(q->now, q->mask);
    q->now = _mm_add_epi32(q->now, q->step);
    return _mm_sra_epi32(_mm_add_epi32(products, noise), q->shift);
}

// Eight weights of 16 bits and their steps, which may be longer, cut to 16 bits again.
static inline __m128i tp_stepped(__m128i w, __m128i g, __m128i x, tp_noise_t *q) {
    __m128i low = _mm_mullo_epi16(g, x), high = _mm_mulhi_epi16(g, x);
    __m128i first = tp_rounded(_mm_unpacklo_epi16(low, high), q);
    __m128i last = tp_rounded(_mm_unpackhi_epi16(low, high), q);
    first = _mm_add_epi32(first, _mm_srai_epi32(_mm_unpacklo_epi16(w, w), 16));
    last = _mm_add_epi32(last, _mm_srai_epi32(_mm_unpackhi_epi16(w, w), 16));
    return _mm_packs_epi32(first, last);
}

// The columns from `from` on, or those of index.
#define TP_SOME(name, type, x_type) \
    static void tp_some_##name(const tp_ki_row_t *row, const x_type *x, size_t from, size_t cols, \
        const tp_ki_index_t *index) { \
        type *w = row->w; \
        size_t n = index != NULL ? index->total : cols; \
        for (size_t j = from; j < n; j++) { \
            size_t i = index != NULL ? index->columns[j] : j; \
            int32_t noise = (int32_t)tp_ki_noise(row->noise, row->shift, i); \
            int32_t v = w[i] + ((row->g * x[i] + noise) >> row->shift); \
            int32_t most = sizeof(type) == 1u ? 127 : 32767; \
            w[i] = (type)(v > most ? most : v < -most - 1 ? -most - 1 : v); \
        } \
    }
TP_SOME(i8, int8_t, int8_t)
TP_SOME(i16, int16_t, int16_t)
TP_SOME(wide_i8, int8_t, int16_t)

void tp_ki_rows_update_i8(const tp_ki_row_t *rows, size_t n_rows, const int8_t *x, size_t cols,
    const tp_ki_index_t *index) {
    index = tp_worth(index, cols);
    for (; n_rows > 0; n_rows--, rows++) {
        int8_t *w = rows->w;
        int16_t u = (int16_t)rows->noise, by = (int16_t)tp_ki_noise_step(rows->shift);
        int16_t u2 = (int16_t)(u + by), u4 = (int16_t)(u2 + by), u6 = (int16_t)(u4 + by);
        __m128i g = _mm_set1_epi16((int16_t)rows->g), step = _mm_set1_epi16((int16_t)(4 * by));
        __m128i noise = _mm_set_epi16(u6, u6, u4, u4, u2, u2, u, u);
        __m128i mask = _mm_set1_epi16((int16_t)((1u << rows->shift) - 1u));
        __m128i shift = _mm_cvtsi32_si128((int32_t)rows->shift);
        size_t i = 0;
        // Products and noise fit 16 bits, steps 8.
        for (; i + 16u <= cols && index == NULL; i += 16u) {
            __m128i v = tp_load(x + i), low = _mm_srai_epi16(_mm_unpacklo_epi8(v, v), 8);
            __m128i high = _mm_srai_epi16(_mm_unpackhi_epi8(v, v), 8);
            low = _mm_add_epi16(_mm_mullo_epi16(g, low), _mm_and_si128(noise, mask));
            noise = _mm_add_epi16(noise, step);
            high = _mm_add_epi16(_mm_mullo_epi16(g, high), _mm_and_si128(noise, mask));
            noise = _mm_add_epi16(noise, step);
            v = _mm_packs_epi16(_mm_sra_epi16(low, shift), _mm_sra_epi16(high, shift));
            tp_store(w + i, _mm_adds_epi8(tp_load(w + i), v));
        }
        tp_some_i8(rows, x, i, cols, index);
    }
}

// A product of 21 and 11 bits: (32 x) * (g >> 10 << 5) + x * (g & 1023).
void tp_ki_rows_update_i16(const tp_ki_row_t *rows, size_t n_rows, const int16_t *x, size_t cols,
    const tp_ki_index_t *index) {
    index = tp_worth(index, cols);
    for (; n_rows > 0; n_rows--, rows++) {
        int16_t *w = rows->w;
        uint32_t high = (uint32_t)(rows->g >> 10) << 5, low = (uint32_t)rows->g & 1023u;
        __m128i g = _mm_set1_epi32((int32_t)((high & 0xffffu) | low << 16));
        tp_noise_t noise = tp_noise_from(rows->noise, 16);
        size_t i = 0;
        for (; i + 8u <= cols && index == NULL; i += 8u) {
            __m128i v = tp_load(x + i), v32 = _mm_slli_epi16(v, 5);
            __m128i first = tp_rounded(_mm_madd_epi16(_mm_unpacklo_epi16(v32, v), g), &noise);
            __m128i last = tp_rounded(_mm_madd_epi16(_mm_unpackhi_epi16(v32, v), g), &noise);
            tp_store(w + i, _mm_adds_epi16(tp_load(w + i), _mm_packs_epi32(first, last)));
        }
        tp_some_i16(rows, x, i, cols, index);
    }
}

void tp_ki_row_update_wide_i8(const tp_ki_row_t *row, const int16_t *x, size_t cols) {
    int8_t *w = row->w;
    __m128i g = _mm_set1_epi16((int16_t)row->g);
    tp_noise_t noise = tp_noise_from(row->noise, row->shift);
    size_t i = 0;
    for (; i + 8u <= cols; i += 8u) {
        __m128i v = tp_stepped(tp_bytes(w + i), g, tp_load(x + i), &noise);
        _mm_storel_epi64((__m128i *)(w + i), _mm_packs_epi16(v, v));
    }
    tp_some_wide_i8(row, x, i, cols, NULL);
}

void tp_ki_row_update_wide_i16(const tp_ki_row_t *row, const int16_t *x, size_t cols) {
    int16_t *w = row->w;
    __m128i g = _mm_set1_epi16((int16_t)row->g);
    tp_noise_t noise = tp_noise_from(row->noise, row->shift);
    size_t i = 0;
    for (; i + 8u <= cols; i += 8u) {
        tp_store(w + i, tp_stepped(tp_load(w + i), g, tp_load(x + i), &noise));
    }
    tp_some_i16(row, x, i, cols, NULL);
}

static inline void tp_add(int32_t *sum, __m128i v) {
    tp_store(sum, _mm_add_epi32(tp_load(sum), v));
}

#define TP_AXPY(name, type, eight) \
    void tp_ki_axpy_##name(int32_t *sum, int32_t d, const type *x, size_t n) { \
        __m128i d8 = _mm_set1_epi16((int16_t)d); \
        size_t i = 0; \
        for (; i + 8u <= n; i += 8u) { \
            __m128i v = eight(x + i), low = _mm_mullo_epi16(d8, v), \
                    high = _mm_mulhi_epi16(d8, v); \
            tp_add(sum + i, _mm_unpacklo_epi16(low, high)); \
            tp_add(sum + i + 4u, _mm_unpackhi_epi16(low, high)); \
        } \
        for (; i < n; i++) { \
            sum[i] += d * x[i]; \
        } \
    }
TP_AXPY(i8, int8_t, tp_bytes)
TP_AXPY(i16, int16_t, tp_load)

// Two rows' products of eight columns, int8 weights in the upper halves of 16 bits: added, * 256.
static inline void tp_dx_i8(int32_t *dx, __m128i pairs, __m128i pairs_2, __m128i g, __m128i g_2) {
    const __m128i zero = _mm_setzero_si128();
    __m128i low = _mm_madd_epi16(_mm_unpacklo_epi8(zero, pairs), g);
    __m128i low_2 = _mm_madd_epi16(_mm_unpacklo_epi8(zero, pairs_2), g_2);
    __m128i high = _mm_madd_epi16(_mm_unpackhi_epi8(zero, pairs), g);
    __m128i high_2 = _mm_madd_epi16(_mm_unpackhi_epi8(zero, pairs_2), g_2);
    tp_add(dx, _mm_add_epi32(_mm_srai_epi32(low, 8), _mm_srai_epi32(low_2, 8)));
    tp_add(dx + 4, _mm_add_epi32(_mm_srai_epi32(high, 8), _mm_srai_epi32(high_2, 8)));
}

// Four rows; those that are not there count with g = 0.
static size_t tp_four_dx_i8(int32_t *dx, const int8_t *const w[4], const int32_t g[4],
    size_t cols) {
    __m128i g01 = _mm_set1_epi32((int32_t)(((uint32_t)g[0] & 0xffffu) | (uint32_t)g[1] << 16));
    __m128i g23 = _mm_set1_epi32((int32_t)(((uint32_t)g[2] & 0xffffu) | (uint32_t)g[3] << 16));
    size_t i = 0;
    for (; i + 16u <= cols; i += 16u) {
        __m128i w0 = tp_load(w[0] + i), w1 = tp_load(w[1] + i);
        __m128i w2 = tp_load(w[2] + i), w3 = tp_load(w[3] + i);
        tp_dx_i8(dx + i, _mm_unpacklo_epi8(w0, w1), _mm_unpacklo_epi8(w2, w3), g01, g23);
        tp_dx_i8(dx + i + 8u, _mm_unpackhi_epi8(w0, w1), _mm_unpackhi_epi8(w2, w3), g01, g23);
    }
    return i;
}

static size_t tp_four_dx_i16(int32_t *dx, const int16_t *const w[4], const int32_t g[4],
    size_t cols) {
    size_t i = 0;
    for (; i + 8u <= cols; i += 8u) {
        __m128i sum = tp_load(dx + i), sum_4 = tp_load(dx + i + 4u);
        for (size_t r = 0; r < 4u; r++) {
            __m128i v = tp_load(w[r] + i), g8 = _mm_set1_epi16((int16_t)g[r]);
            __m128i low = _mm_mullo_epi16(v, g8), high = _mm_mulhi_epi16(v, g8);
            sum = _mm_add_epi32(sum, _mm_srai_epi32(_mm_unpacklo_epi16(low, high), 8));
            sum_4 = _mm_add_epi32(sum_4, _mm_srai_epi32(_mm_unpackhi_epi16(low, high), 8));
        }
        tp_store(dx + i, sum);
        tp_store(dx + i + 4u, sum_4);
    }
    return i;
}

#define TP_ROWS_DX(name, type, dx_shift) \
    void tp_ki_rows_dx_##name(int32_t *dx, const tp_ki_row_t *rows, size_t n_rows, size_t cols, \
        const tp_ki_index_t *index) { \
        for (size_t o = 0; o < n_rows; o += 4u) { \
            const type *w[4]; \
            int32_t g[4]; \
            for (size_t r = 0; r < 4u; r++) { \
                w[r] = rows[o + r < n_rows ? o + r : o].w; \
                g[r] = o + r < n_rows ? rows[o + r].g : 0; \
            } \
            size_t j = index != NULL ? 0 : tp_four_dx_##name(dx, w, g, cols); \
            for (size_t n = index != NULL ? index->total : cols; j < n; j++) { \
                size_t i = index != NULL ? index->columns[j] : j; \
                dx[i] += ((g[0] * w[0][i]) >> (dx_shift)) + ((g[1] * w[1][i]) >> (dx_shift)); \
                dx[i] += ((g[2] * w[2][i]) >> (dx_shift)) + ((g[3] * w[3][i]) >> (dx_shift)); \
            } \
        } \
    }
TP_ROWS_DX(i8, int8_t, 0)
TP_ROWS_DX(i16, int16_t, 8)

#endif
