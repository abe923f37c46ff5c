// The definition of every kernel, in portable C. Loops are written so that a compiler may use
// vectors of four without changing the order of any sum.
#include "tp_kernels.h"

#include "../core/tp.h"

#define TP_LANES(s) (((s)[0] + (s)[2]) + ((s)[1] + (s)[3]))

void tp_k_index_f32(tp_k_index_t *index, uint16_t *columns, const float *x, size_t n) {
    uint32_t total = 0;
    for (size_t lane = 0; lane < 4; lane++) {
        uint32_t before = total;
        for (size_t i = lane; i < n; i += 4) {
            // Written without a branch: half of all ReLU outputs are zero, at random.
            columns[total] = (uint16_t)i;
            total += x[i] != 0.0f;
        }
        index->count[lane] = total - before;
    }
    index->columns = columns;
    index->total = total;
}

// Where every float operation is a call, the calls are the time, and the shape with the least
// code is as fast as any; elsewhere compilers turn four named lanes into one vector accumulator.
#if defined(__SOFTFP__) || defined(__riscv_float_abi_soft)

#define TP_ONCE __attribute__((noinline))

static TP_ONCE float tp_dot(const float *w, const float *x, size_t n) {
    float s[4];
    const float *end = w + n;
    for (size_t j = 0; j < 4; j++) {
        float lane = 0.0f;
        for (const float *p = w + j, *q = x + j; p < end; p += 4, q += 4) {
            lane += *p * *q;
        }
        s[j] = lane;
    }
    return TP_LANES(s);
}

#else

#define TP_ONCE

static float tp_dot(const float *w, const float *x, size_t n) {
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        s0 += w[i] * x[i];
        s1 += w[i + 1] * x[i + 1];
        s2 += w[i + 2] * x[i + 2];
        s3 += w[i + 3] * x[i + 3];
    }
    if (i < n) {
        s0 += w[i] * x[i];
    }
    if (i + 1 < n) {
        s1 += w[i + 1] * x[i + 1];
    }
    if (i + 2 < n) {
        s2 += w[i + 2] * x[i + 2];
    }
    return (s0 + s2) + (s1 + s3);
}

#endif

// The sum of x with the bits of mask: all of x, or |x|.
static TP_ONCE float tp_sum(const float *x, size_t n, uint32_t mask) {
    float s[4] = {0};
    for (size_t i = 0; i < n; i++) {
        union {
            float f;
            uint32_t u;
        } v = {x[i]};
        v.u &= mask;
        s[i & 3] += v.f;
    }
    return TP_LANES(s);
}

float tp_k_sum_f32(const float *x, size_t n) {
    return tp_sum(x, n, 0xffffffffu);
}

float tp_k_sum_abs_f32(const float *x, size_t n) {
    return tp_sum(x, n, 0x7fffffffu);
}

float tp_k_sum_squares_f32(const float *x, size_t n) {
    return tp_dot(x, x, n);
}

void tp_k_matvec_f32(float *z, const float *w, const float *x, const float *b, size_t rows,
    size_t cols) {
    for (size_t o = 0; o < rows; o++) {
        z[o] = tp_dot(w + o * cols, x, cols) + b[o];
    }
}

void tp_k_matvec_index_f32(float *z, const float *w, const float *x, const float *b, size_t rows,
    size_t cols, const tp_k_index_t *index) {
    for (size_t o = 0; o < rows; o++, w += cols) {
        const uint16_t *c = index->columns;
        float s[4];
        for (size_t j = 0; j < 4; j++) {
            float lane = 0.0f;
            for (uint32_t q = index->count[j]; q > 0; q--, c++) {
                lane += w[*c] * x[*c];
            }
            s[j] = lane;
        }
        z[o] = TP_LANES(s) + b[o];
    }
}

void tp_k_axpy_f32(float *restrict y, float a, const float *restrict x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] = y[i] + a * x[i];
    }
}

void tp_k_axpy_index_f32(float *restrict y, float a, const float *restrict x,
    const tp_k_index_t *index) {
    const uint16_t *c = index->columns;
    for (uint32_t q = index->total; q > 0; q--, c++) {
        y[*c] = y[*c] + a * x[*c];
    }
}

void tp_k_decay_axpy_f32(float *y, float decay, float a, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] = decay * y[i] + a * x[i];
    }
}

void tp_k_back_update_f32(float *restrict dx, float *restrict w, const float *restrict x, float d,
    float g, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float old = w[i];
        dx[i] = dx[i] + d * old;
        w[i] = old + g * x[i];
    }
}

void tp_k_back_update_index_f32(float *restrict dx, float *restrict w, const float *restrict x,
    float d, float g, const tp_k_index_t *index) {
    const uint16_t *c = index->columns;
    for (uint32_t q = index->total; q > 0; q--, c++) {
        float old = w[*c];
        dx[*c] = dx[*c] + d * old;
        w[*c] = old + g * x[*c];
    }
}

void tp_k_momentum_f32(float *restrict w, float *restrict v, float d, const float *restrict x,
    float lr, float mu, float wd, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float g = x != NULL ? d * x[i] : d;
        if (wd != 0.0f) {
            g = g + wd * w[i];
        }
        v[i] = mu * v[i] + g;
        w[i] = w[i] - lr * v[i];
    }
}

void tp_k_adam_f32(float *restrict w, float *restrict m, float *restrict v, float d,
    const float *restrict x, const tp_k_adam_t *p, size_t n) {
    float keep1 = 1.0f - p->beta1, keep2 = 1.0f - p->beta2;
    for (size_t i = 0; i < n; i++) {
        float g = x != NULL ? d * x[i] : d;
        if (p->wd != 0.0f) {
            g = g + p->wd * w[i];
        }
        m[i] = p->beta1 * m[i] + keep1 * g;
        v[i] = p->beta2 * v[i] + (keep2 * g) * g;
        w[i] = w[i] - (p->rate * m[i]) / (tp_sqrtf(v[i]) + p->eps);
    }
}
