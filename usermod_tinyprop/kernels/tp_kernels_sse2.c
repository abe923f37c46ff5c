// Inner loops for x86-64: vectors of four are the four lanes. Equal to tp_kernels_generic.c bit for
// bit.
#include "tp_kernels.h"

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
