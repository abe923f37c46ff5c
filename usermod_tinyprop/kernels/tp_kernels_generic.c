// The definition of every kernel, in portable C. Loops are written so that a compiler may use
// vectors of four without changing the order of any sum.
#include "tp_kernels.h"

#include "../core/tp.h"

#define TP_LANES(s) (((s)[0] + (s)[2]) + ((s)[1] + (s)[3]))

uint32_t tp_k_count_f32(const float *x, size_t n) {
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += !tp_k_is_zero(x[i]);
    }
    return count;
}

void tp_k_index_f32(tp_k_index_t *index, uint16_t *columns, const float *x, size_t n) {
    uint32_t total = 0;
    for (size_t lane = 0; lane < 4; lane++) {
        uint32_t before = total;
        for (size_t i = lane; i < n; i += 4) {
            // Written without a branch: half of all ReLU outputs are zero, at random.
            columns[total] = (uint16_t)i;
            total += !tp_k_is_zero(x[i]);
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
    for (size_t j = 0; j < 4; j++) {
        float lane = 0.0f;
        for (size_t i = j; i < n; i += 4) {
            lane += w[i] * x[i];
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

// --- What a file for one instruction set may do instead ---

#if !TP_KERNELS_SSE2 && !TP_KERNELS_VFP

void tp_k_matvec_f32(float *z, const float *w, const float *x, const float *b, size_t rows,
    size_t cols) {
    for (size_t o = 0; o < rows; o++) {
        z[o] = tp_dot(w + o * cols, x, cols) + b[o];
    }
}

void tp_k_axpy_f32(float *restrict y, float a, const float *restrict x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] = y[i] + a * x[i];
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

size_t tp_k_rows_dx_f32(float *restrict dx, const float *restrict w, const float *restrict d,
    size_t rows, size_t cols) {
    size_t kept = 0;
    for (size_t o = 0; o < rows; o++, w += cols) {
        if (!tp_k_is_zero(d[o])) {
            tp_k_axpy_f32(dx, d[o], w, cols);
            kept++;
        }
    }
    return kept;
}

size_t tp_k_rows_update_f32(float *restrict w, float lr, const float *restrict d,
    const float *restrict x, size_t rows, size_t cols) {
    size_t kept = 0;
    for (size_t o = 0; o < rows; o++, w += cols) {
        if (!tp_k_is_zero(d[o])) {
            tp_k_axpy_f32(w, -(lr * d[o]), x, cols);
            kept++;
        }
    }
    return kept;
}

#else

// Four rows share one pass over dx or x; the order of every sum stays.
size_t tp_k_rows_dx_f32(float *restrict dx, const float *restrict w, const float *restrict d,
    size_t rows, size_t cols) {
    float *four[4], factors[4];
    size_t kept = 0;
    for (size_t o = 0; o < rows; o++, w += cols) {
        if (tp_k_is_zero(d[o])) {
            continue;
        }
        four[kept & 3u] = (float *)(uintptr_t)w;
        factors[kept & 3u] = d[o];
        if ((++kept & 3u) == 0) {
            tp_k_four_dx_f32(dx, four, factors, cols);
        }
    }
    for (size_t r = 0; r < (kept & 3u); r++) {
        tp_k_axpy_f32(dx, factors[r], four[r], cols);
    }
    return kept;
}

size_t tp_k_rows_update_f32(float *restrict w, float lr, const float *restrict d,
    const float *restrict x, size_t rows, size_t cols) {
    float *four[4], factors[4];
    size_t kept = 0;
    for (size_t o = 0; o < rows; o++, w += cols) {
        if (tp_k_is_zero(d[o])) {
            continue;
        }
        four[kept & 3u] = w;
        factors[kept & 3u] = -(lr * d[o]);
        if ((++kept & 3u) == 0) {
            tp_k_four_update_f32(four, factors, x, cols);
        }
    }
    for (size_t r = 0; r < (kept & 3u); r++) {
        tp_k_axpy_f32(four[r], factors[r], x, cols);
    }
    return kept;
}

#endif

#if !TP_KERNELS_VFP

void tp_k_add_f32(float *restrict y, const float *restrict x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] = y[i] + x[i];
    }
}

#endif

// --- The rest ---

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

void tp_k_back_update_index_f32(float *restrict dx, float *restrict w, const float *restrict x,
    float d, float g, const tp_k_index_t *index) {
    const uint16_t *c = index->columns;
    for (uint32_t q = index->total; q > 0; q--, c++) {
        float old = w[*c];
        dx[*c] = dx[*c] + d * old;
        w[*c] = old + g * x[*c];
    }
}

// The part of the window that lies on the map: rows y..y_end, columns x..x_end.
typedef struct {
    int32_t y, y_end, x, x_end;
} tp_inside_t;

static tp_inside_t tp_inside(const tp_k_window_t *q) {
    tp_inside_t in = {q->y0 < 0 ? 0 : q->y0, q->y0 + q->kh > q->h ? q->h : q->y0 + q->kh,
        q->x0 < 0 ? 0 : q->x0, q->x0 + q->kw > q->w ? q->w : q->x0 + q->kw};
    return in;
}

void tp_k_gather_f32(float *restrict patch, const float *restrict x, const tp_k_window_t *q) {
    tp_inside_t in = tp_inside(q);
    size_t n = (size_t)q->n, line = (size_t)q->kw * n;
    if (in.y_end - in.y < q->kh || in.x_end - in.x < q->kw) {
        memset(patch, 0, (size_t)q->kh * line * sizeof(float));
    }
    size_t width = in.x_end > in.x ? (size_t)(in.x_end - in.x) : 0;
    for (int32_t y = in.y; y < in.y_end; y++) {
        const float *from = x + ((size_t)y * (size_t)q->w + (size_t)in.x) * (size_t)q->c + q->c0;
        float *to = patch + (size_t)(y - q->y0) * line + (size_t)(in.x - q->x0) * n;
        if (q->n == q->c) {
            memcpy(to, from, width * n * sizeof(float));
            continue;
        }
        for (size_t i = 0; i < width; i++, from += q->c, to += n) {
            for (size_t j = 0; j < n; j++) {
                to[j] = from[j];
            }
        }
    }
}

void tp_k_scatter_add_f32(float *restrict x, const float *restrict patch, const tp_k_window_t *q) {
    tp_inside_t in = tp_inside(q);
    size_t n = (size_t)q->n, line = (size_t)q->kw * n;
    size_t width = in.x_end > in.x ? (size_t)(in.x_end - in.x) : 0;
    for (int32_t y = in.y; y < in.y_end; y++) {
        float *to = x + ((size_t)y * (size_t)q->w + (size_t)in.x) * (size_t)q->c + q->c0;
        const float *from = patch + (size_t)(y - q->y0) * line + (size_t)(in.x - q->x0) * n;
        if (q->n == q->c) {
            tp_k_add_f32(to, from, width * n);
            continue;
        }
        for (size_t i = 0; i < width; i++, to += q->c, from += n) {
            tp_k_add_f32(to, from, n);
        }
    }
}

void tp_k_max_f32(float *restrict out, const float *restrict x, const tp_k_window_t *q) {
    tp_inside_t in = tp_inside(q);
    bool first = true;
    for (int32_t y = in.y; y < in.y_end; y++) {
        for (int32_t i = in.x; i < in.x_end; i++) {
            const float *at = x + ((size_t)y * (size_t)q->w + (size_t)i) * (size_t)q->c + q->c0;
            for (int32_t j = 0; j < q->n; j++) {
                out[j] = first || at[j] > out[j] || at[j] != at[j] ? at[j] : out[j];
            }
            first = false;
        }
    }
}

void tp_k_max_backward_f32(float *restrict dx, const float *restrict d, const float *restrict x,
    const float *restrict out, const tp_k_window_t *q) {
    tp_inside_t in = tp_inside(q);
    for (int32_t j = 0; j < q->n; j++) {
        bool found = tp_k_is_zero(d[j]);
        for (int32_t y = in.y; y < in.y_end && !found; y++) {
            for (int32_t i = in.x; i < in.x_end && !found; i++) {
                size_t at =
                    ((size_t)y * (size_t)q->w + (size_t)i) * (size_t)q->c + (size_t)(q->c0 + j);
                if (x[at] == out[j]) {
                    dx[at] = dx[at] + d[j];
                    found = true;
                }
            }
        }
    }
}

static float tp_places(const tp_inside_t *in) {
    return (float)((in->y_end - in->y) * (in->x_end - in->x));
}

void tp_k_mean_f32(float *restrict out, const float *restrict x, const tp_k_window_t *q) {
    tp_inside_t in = tp_inside(q);
    float places = tp_places(&in);
    memset(out, 0, (size_t)q->n * sizeof(float));
    for (int32_t y = in.y; y < in.y_end; y++) {
        for (int32_t i = in.x; i < in.x_end; i++) {
            const float *at = x + ((size_t)y * (size_t)q->w + (size_t)i) * (size_t)q->c + q->c0;
            for (int32_t j = 0; j < q->n; j++) {
                out[j] = out[j] + at[j];
            }
        }
    }
    for (int32_t j = 0; j < q->n; j++) {
        out[j] = out[j] / places;
    }
}

void tp_k_mean_backward_f32(float *restrict dx, const float *restrict d, const tp_k_window_t *q) {
    tp_inside_t in = tp_inside(q);
    float places = tp_places(&in);
    for (int32_t j = 0; j < q->n; j++) {
        float share = d[j] / places;
        for (int32_t y = in.y; y < in.y_end && !tp_k_is_zero(d[j]); y++) {
            for (int32_t i = in.x; i < in.x_end; i++) {
                size_t at =
                    ((size_t)y * (size_t)q->w + (size_t)i) * (size_t)q->c + (size_t)(q->c0 + j);
                dx[at] = dx[at] + share;
            }
        }
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
