// The definition of every kernel, in portable C. Loops are written so that a compiler may use
// vectors of four without changing the order of any sum.
#include "tp_kernels.h"

#include "../core/tp.h"

// Where every float operation is a call, the calls are the time, and the shape with the least
// code is as fast as any; elsewhere compilers turn four named lanes into one vector accumulator,
// and what becomes a constant at the place of a call makes a loop of its own there.
#if defined(__SOFTFP__) || defined(__riscv_float_abi_soft)
#define TP_FLOATS_ARE_CALLS 1
#define TP_ONCE __attribute__((noinline))
#define TP_INLINE static
#define TP_SHARE 1
#else
#define TP_FLOATS_ARE_CALLS 0
#define TP_ONCE
#define TP_INLINE static inline __attribute__((always_inline))
#define TP_SHARE 4 // rows in one pass, which share what they read of x or dx, and the index
#endif

// acc + a * b of the hottest loops; a port may call its routines by itself (ports/rp2/rom_float.h),
// with what TP_MAC_BEGIN gets ready before the loop.
#ifndef TP_MAC
#define TP_MAC_BEGIN
#define TP_MAC(acc, a, b) ((acc) + (a) * (b))
#endif

#define TP_LANES(s) (((s)[0] + (s)[2]) + ((s)[1] + (s)[3]))

TP_INLINE size_t tp_next(const float *x, size_t from, size_t n) {
    while (from < n && tp_k_is_zero(x[from])) {
        from++;
    }
    return from;
}

#if !TP_KERNELS_VFP

static uint32_t tp_bits(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    return bits;
}

size_t tp_k_next_f32(const float *x, size_t from, size_t n) {
    // Most of what a policy leaves behind is zeros: four at a time.
    while (!TP_FLOATS_ARE_CALLS && from + 4u <= n &&
        ((tp_bits(x[from]) | tp_bits(x[from + 1u]) | tp_bits(x[from + 2u]) | tp_bits(x[from + 3u]))
            << 1) == 0) {
        from += 4u;
    }
    return tp_next(x, from, n);
}

uint32_t tp_k_count_f32(const float *x, size_t n) {
    uint32_t count = 0;
    size_t i = 0;
    for (; !TP_FLOATS_ARE_CALLS && i + 4u <= n; i += 4u) {
        count += !tp_k_is_zero(x[i]);
        count += !tp_k_is_zero(x[i + 1u]);
        count += !tp_k_is_zero(x[i + 2u]);
        count += !tp_k_is_zero(x[i + 3u]);
    }
    for (; i < n; i++) {
        count += !tp_k_is_zero(x[i]);
    }
    return count;
}

#endif

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

#if TP_FLOATS_ARE_CALLS

static TP_ONCE float tp_dot(const float *w, const float *x, size_t n) {
    float s[4];
    const float *end = w + n;
    TP_MAC_BEGIN;
    for (size_t j = 0; j < 4; j++) {
        float lane = 0.0f;
        for (const float *p = w + j, *q = x + j; p < end; p += 4, q += 4) {
            lane = TP_MAC(lane, *p, *q);
        }
        s[j] = lane;
    }
    return TP_LANES(s);
}

#else

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

float tp_k_sum_squares_f32(const float *x, size_t n) {
    return tp_dot(x, x, n);
}

// --- What a file for one instruction set may do instead ---

#if !TP_KERNELS_SSE2 && !TP_KERNELS_VFP

float tp_k_sum_abs_f32(const float *x, size_t n) {
    return tp_sum(x, n, 0x7fffffffu);
}

void tp_k_matvec_f32(float *z, const float *w, const float *x, const float *b, size_t rows,
    size_t cols) {
    for (size_t o = 0; o < rows; o++) {
        z[o] = tp_dot(w + o * cols, x, cols) + b[o];
    }
}

void tp_k_axpy_f32(float *restrict y, float a, const float *restrict x, size_t n) {
    TP_MAC_BEGIN;
    for (size_t i = 0; i < n; i++) {
        y[i] = TP_MAC(y[i], a, x[i]);
    }
}

#endif

#if !TP_KERNELS_VFP

void tp_k_copy_f32(float *restrict to, const float *restrict from, size_t n) {
    memcpy(to, from, n * sizeof(float));
}

void tp_k_clear_f32(float *x, size_t n) {
    memset(x, 0, n * sizeof(float));
}

void tp_k_add_abs_f32(float *restrict y, const float *restrict x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] = y[i] + __builtin_fabsf(x[i]);
    }
}

void tp_k_add_f32(float *restrict y, const float *restrict x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] = y[i] + x[i];
    }
}

void tp_k_channel_sums_f32(float *restrict out, const float *restrict x, size_t places, size_t c) {
    tp_k_clear_f32(out, c);
    for (; places > 0; places--, x += c) {
        tp_k_add_f32(out, x, c);
    }
}

#endif

// --- The rest ---

// z of TP_SHARE rows.
TP_INLINE TP_ONCE void tp_dots_index(float *z, const float *w, const float *x, const float *b,
    size_t cols, const tp_k_index_t *index, size_t share) {
    const uint16_t *c = index->columns;
    float s[TP_SHARE][4];
    TP_MAC_BEGIN;
    for (size_t j = 0; j < 4; j++) {
        float lane[TP_SHARE] = {0};
        for (const uint16_t *end = c + index->count[j]; c < end; c++) {
            for (size_t r = 0; r < share; r++) {
                lane[r] = TP_MAC(lane[r], w[r * cols + *c], x[*c]);
            }
        }
        for (size_t r = 0; r < share; r++) {
            s[r][j] = lane[r];
        }
    }
    for (size_t r = 0; r < share; r++) {
        z[r] = TP_LANES(s[r]) + b[r];
    }
}

void tp_k_matvec_index_f32(float *z, const float *w, const float *x, const float *b, size_t rows,
    size_t cols, const tp_k_index_t *index) {
    size_t o = 0;
    for (; TP_SHARE > 1 && o + TP_SHARE <= rows; o += TP_SHARE) {
        tp_dots_index(z + o, w + o * cols, x, b + o, cols, index, TP_SHARE);
    }
    for (; o < rows; o++) {
        tp_dots_index(z + o, w + o * cols, x, b + o, cols, index, 1);
    }
}

void tp_k_axpy_index_f32(float *restrict y, float a, const float *restrict x,
    const tp_k_index_t *index) {
    const uint16_t *c = index->columns;
    TP_MAC_BEGIN;
    for (uint32_t q = index->total; q > 0; q--, c++) {
        y[*c] = TP_MAC(y[*c], a, x[*c]);
    }
}

void tp_k_decay_axpy_f32(float *y, float decay, float a, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] = decay * y[i] + a * x[i];
    }
}

// Up to four rows at work on dx, or on by x.
TP_INLINE void tp_few_rows(float *dx, const float *x, float *const *w, const float *factors,
    size_t n, size_t cols, const tp_k_index_t *index) {
#if TP_KERNELS_SSE2 || TP_KERNELS_VFP
    if (n == 4 && index == NULL) {
        if (dx != NULL) {
            tp_k_four_dx_f32(dx, w, factors, cols);
        } else {
            tp_k_four_update_f32(w, factors, x, cols);
        }
        return;
    }
#endif
#if TP_SHARE == 4
    if (n == 4 && index != NULL) {
        float *w0 = w[0], *w1 = w[1], *w2 = w[2], *w3 = w[3];
        float f0 = factors[0], f1 = factors[1], f2 = factors[2], f3 = factors[3];
        const uint16_t *c = index->columns;
        for (uint32_t q = index->total; q > 0; q--) {
            size_t i = *c++;
            if (dx != NULL) {
                dx[i] = (((dx[i] + f0 * w0[i]) + f1 * w1[i]) + f2 * w2[i]) + f3 * w3[i];
            } else {
                float v = x[i];
                w0[i] = w0[i] + f0 * v;
                w1[i] = w1[i] + f1 * v;
                w2[i] = w2[i] + f2 * v;
                w3[i] = w3[i] + f3 * v;
            }
        }
        return;
    }
#endif
    for (size_t r = 0; r < n; r++) {
        float *y = dx != NULL ? dx : w[r];
        const float *v = dx != NULL ? w[r] : x;
        if (index != NULL) {
            tp_k_axpy_index_f32(y, factors[r], v, index);
        } else {
            tp_k_axpy_f32(y, factors[r], v, cols);
        }
    }
}

TP_INLINE TP_ONCE size_t tp_rows(float *dx, const float *x, float *w, float lr, const float *d,
    size_t rows, size_t cols, const tp_k_index_t *index) {
    float *few[TP_SHARE], factors[TP_SHARE];
    size_t kept = 0, n = 0;
#if TP_KERNELS_VFP
    const float *list[TP_LISTED + TP_SHARE], **at = list;
    for (size_t from = 0; from < rows; from += TP_LISTED) {
        size_t some = rows - from < TP_LISTED ? rows - from : TP_LISTED;
        for (size_t i = 0; i < n; i++) {
            list[i] = at[i];
        }
        n += tp_k_kept_f32(list + n, d + from, some);
        for (at = list; n >= TP_SHARE; at += TP_SHARE, n -= TP_SHARE, kept += TP_SHARE) {
            tp_k_factors(few, factors, w, lr, dx == NULL, d, at, TP_SHARE, cols);
            tp_few_rows(dx, x, few, factors, TP_SHARE, cols, index);
        }
    }
    kept += n;
    tp_k_factors(few, factors, w, lr, dx == NULL, d, at, n, cols);
#else
    for (size_t o = tp_next(d, 0, rows); o < rows; o = tp_next(d, o + 1u, rows)) {
        few[n] = w + o * cols;
        factors[n] = dx != NULL ? d[o] : -(lr * d[o]);
        kept++;
        if (++n == TP_SHARE) {
            tp_few_rows(dx, x, few, factors, TP_SHARE, cols, index);
            n = 0;
        }
    }
#endif
    if (TP_SHARE > 1 && n > 0) {
        tp_few_rows(dx, x, few, factors, n, cols, index);
    }
    return kept;
}

size_t tp_k_rows_dx_f32(float *dx, const float *w, const float *d, size_t rows, size_t cols,
    const tp_k_index_t *index) {
    float *at = (float *)(uintptr_t)w; // only read
    return TP_FLOATS_ARE_CALLS || index != NULL ? tp_rows(dx, NULL, at, 0.0f, d, rows, cols, index)
                                                : tp_rows(dx, NULL, at, 0.0f, d, rows, cols, NULL);
}

size_t tp_k_rows_update_f32(float *w, float lr, const float *d, const float *x, size_t rows,
    size_t cols, const tp_k_index_t *index) {
    return TP_FLOATS_ARE_CALLS || index != NULL ? tp_rows(NULL, x, w, lr, d, rows, cols, index)
                                                : tp_rows(NULL, x, w, lr, d, rows, cols, NULL);
}

#if TP_MAPS

static TP_ONCE tp_k_inside_t tp_inside(const tp_k_window_t *q) {
    return tp_k_inside(q);
}

void tp_k_gather_f32(float *restrict patch, const float *restrict x, const tp_k_window_t *q) {
    tp_k_inside_t in = tp_inside(q);
    size_t n = (size_t)q->n, line = (size_t)q->kw * n;
    if (in.y_end - in.y < q->kh || in.x_end - in.x < q->kw) {
        tp_k_clear_f32(patch, (size_t)q->kh * line);
    }
    size_t width = in.x_end > in.x ? (size_t)(in.x_end - in.x) : 0;
    for (int32_t y = in.y; y < in.y_end; y++) {
        const float *from = x + ((size_t)y * (size_t)q->w + (size_t)in.x) * (size_t)q->c + q->c0;
        float *to = patch + (size_t)(y - q->y0) * line + (size_t)(in.x - q->x0) * n;
        if (q->n == q->c) {
            tp_k_copy_f32(to, from, width * n);
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
    tp_k_inside_t in = tp_inside(q);
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

#if TP_KERNELS_VFP

// At most four rows that are kept, from the window's first place on the map on.
typedef struct {
    float *rows[4];
    float d[4];
    size_t kept, at;
    tp_k_lines_t lines;
    bool edge; // the window hangs over one
} tp_few_t;

static bool tp_few(tp_few_t *f, const float *w, const float *d, size_t rows,
    const tp_k_window_t *q, bool by_patch) {
    tp_k_inside_t in = tp_inside(q);
    size_t c = (size_t)q->c, width = (size_t)q->kw * c, line = (size_t)(in.x_end - in.x) * c;
    size_t kept = 0, n = (size_t)q->kh * width;
    f->edge = in.y_end - in.y != q->kh || line != width;
    by_patch = by_patch && f->edge;
    if (q->n != q->c || ((by_patch ? n : line) & 7u) != 0 || in.x_end <= in.x) {
        return false;
    }
    float *row = (float *)(uintptr_t)w; // of dx only read
    row += by_patch ? 0 : (size_t)(in.y - q->y0) * width + (size_t)(in.x - q->x0) * c;
    const float *list[TP_LISTED + 4u];
    for (size_t from = 0; from < rows; from += TP_LISTED) {
        size_t some = rows - from < TP_LISTED ? rows - from : TP_LISTED;
        kept += tp_k_kept_f32(list + kept, d + from, some);
        if (kept > 4) {
            return false;
        }
    }
    tp_k_factors(f->rows, f->d, row, 0.0f, false, d, list, kept, n);
    f->kept = kept;
    f->at = (size_t)(in.y * q->w + in.x) * c;
    f->lines = by_patch
        ? (tp_k_lines_t){1, n / 8u, 0, 0}
        : (tp_k_lines_t){(size_t)(in.y_end - in.y), line / 8u,
              ((size_t)q->w * c - line) * sizeof(float), (width - line) * sizeof(float)};
    return kept > 0;
}

size_t tp_k_window_dx_f32(float *dx, const float *w, const float *d, size_t rows,
    const tp_k_window_t *q) {
    tp_few_t f;
    if (!tp_few(&f, w, d, rows, q, false)) {
        return 0;
    }
    tp_k_lines_dx_f32(dx + f.at, (const float *const *)f.rows, f.d, f.kept, &f.lines);
    return f.kept;
}

size_t tp_k_window_update_f32(float *w, float lr, const float *d, const float *x, float *patch,
    size_t rows, const tp_k_window_t *q) {
    tp_few_t f;
    if (!tp_few(&f, w, d, rows, q, true)) {
        return 0;
    }
    for (size_t r = 0; r < f.kept; r++) {
        f.d[r] = -(lr * f.d[r]);
    }
    if (f.edge) {
        // Weights over the edge take their step by x = 0 as well, which turns -0 into +0.
        tp_k_gather_f32(patch, x, q);
    }
    tp_k_lines_update_f32(f.rows, f.d, f.kept, f.edge ? patch : x + f.at, &f.lines);
    return f.kept;
}

#endif

// --- Depthwise ---

// The part of a window that lies on the map, and where it begins in the map and in a filter.
typedef struct {
    int32_t kh, kw, wide, down, right; // of the part; of a filter's row; steps on the map
    size_t at, first;
} tp_part_t;

static TP_ONCE tp_part_t tp_part(const tp_k_window_t *q) {
    tp_k_inside_t in = tp_inside(q);
    tp_part_t p = {in.y_end - in.y, in.x_end - in.x, q->kw, q->w * q->c, q->c,
        (size_t)(in.y * q->w + in.x) * (size_t)q->c + (size_t)q->c0,
        (size_t)((in.y - q->y0) * q->kw + in.x - q->x0)};
    return p;
}

// What to do with the weight k of a filter and the value of x at a place of the map.
TP_INLINE void tp_depthwise_sum(float s[4], const float *w, const float *x, size_t at, size_t k,
    bool skip, uint32_t *macs) {
    if (!skip || !tp_k_is_zero(x[at])) {
        s[k & 3u] += w[k] * x[at];
        *macs += skip;
    }
}

// The same on the way back: dx learns of w, or (dx NULL) w of x.
TP_INLINE void tp_depthwise_back(float *dx, float *w, const float *x, float a, size_t at, size_t k,
    bool skip, uint32_t *macs) {
    if (!skip || !tp_k_is_zero(x[at])) {
        float *y = dx != NULL ? dx + at : w + k;
        *y = *y + a * (dx != NULL ? w[k] : x[at]);
        *macs += skip;
    }
}

// Do so at all places of the part: DO(at, k, skip).
#define TP_PLACES(p, DO) \
    for (int32_t y = 0; y < (p)->kh; y++) { \
        size_t k_ = (p)->first + (size_t)(y * (p)->wide), at_ = (size_t)(y * (p)->down); \
        for (int32_t i = 0; i < (p)->kw; i++, at_ += (size_t)(p)->right) { \
            DO(at_, k_ + (size_t)i, skip); \
        } \
    }
// The usual window, whole, unrolled by hand: compilers keep the lanes in memory otherwise.
#define TP_NINE(r, d, DO, skip) \
    DO(0, 0, skip); \
    DO(r, 1, skip); \
    DO(2 * r, 2, skip); \
    DO(d, 3, skip); \
    DO(d + r, 4, skip); \
    DO(d + 2 * r, 5, skip); \
    DO(2 * d, 6, skip); \
    DO(2 * d + r, 7, skip); \
    DO(2 * d + 2 * r, 8, skip);
#if TP_FLOATS_ARE_CALLS
#define TP_EACH_PLACE(p, DO) TP_PLACES(p, DO)
#else
#define TP_EACH_PLACE(p, DO) \
    if ((p)->kh == 3 && (p)->kw == 3 && (p)->wide == 3 && (p)->first == 0) { \
        size_t r = (size_t)(p)->right, d = (size_t)(p)->down; \
        if (skip) { \
            TP_NINE(r, d, DO, true) \
        } else { \
            TP_NINE(r, d, DO, false) \
        } \
    } else { \
        TP_PLACES(p, DO) \
    }
#endif

uint32_t tp_k_depthwise_f32(float *restrict z, const float *restrict w, const float *restrict x,
    const float *restrict b, const tp_k_window_t *q, bool skip) {
    tp_part_t part = tp_part(q);
    size_t n_w = (size_t)(q->kh * q->kw), n = (size_t)q->c;
    uint32_t macs = 0;
    x += part.at;
    if (n_w == 1 && !skip) {
        for (size_t j = 0; j < n; j++) {
            z[j] = (0.0f + w[j] * x[j]) + b[j];
        }
        return (uint32_t)n;
    }
    for (size_t j = 0; j < n; j++, w += n_w) {
        float s[4] = {0};
#define TP_SUM(at, k, skip) tp_depthwise_sum(s, w, x + j, at, k, skip, &macs)
        TP_EACH_PLACE(&part, TP_SUM)
        z[j] = TP_LANES(s) + b[j];
    }
    return skip ? macs : (uint32_t)(n * n_w);
}

TP_INLINE TP_ONCE uint32_t tp_depthwise_backward(float *dx, float *w, const float *x, float lr,
    const float *d, size_t n, const tp_k_window_t *q, bool skip) {
    tp_part_t part = tp_part(q);
    size_t n_w = (size_t)(q->kh * q->kw);
    uint32_t macs = 0, kept = 0;
    x += part.at;
    dx = dx != NULL ? dx + part.at : NULL;
    // A scale and a bias for each channel.
    for (size_t j = 0; !TP_FLOATS_ARE_CALLS && n_w == 1 && !skip && j < n; j++) {
        if (!tp_k_is_zero(d[j])) {
            float a = dx != NULL ? d[j] : -(lr * d[j]);
            tp_depthwise_back(dx != NULL ? dx + j : NULL, w + j, x + j, a, 0, 0, false, &macs);
            kept++;
        }
    }
    if (!TP_FLOATS_ARE_CALLS && n_w == 1 && !skip) {
        return kept;
    }
    for (size_t j = tp_next(d, 0, n); j < n; j = tp_next(d, j + 1u, n)) {
        float *map = dx != NULL ? dx + j : NULL, *wj = w + j * n_w;
        float a = dx != NULL ? d[j] : -(lr * d[j]);
        kept++;
#define TP_BACK(at, k, skip) tp_depthwise_back(map, wj, x + j, a, at, k, skip, &macs)
        TP_EACH_PLACE(&part, TP_BACK)
    }
    return skip ? macs : kept * (uint32_t)n_w;
}

uint32_t tp_k_depthwise_dx_f32(float *dx, const float *w, const float *x, const float *d,
    const tp_k_window_t *q, bool skip) {
    // w is only read.
    return tp_depthwise_backward(dx, (float *)(uintptr_t)w, x, 0.0f, d, (size_t)q->c, q, skip);
}

uint32_t tp_k_depthwise_update_f32(float *w, float lr, const float *x, const float *d, size_t rows,
    const tp_k_window_t *q, bool skip) {
    return tp_depthwise_backward(NULL, w, x, lr, d, rows, q, skip);
}

void tp_k_max_f32(float *restrict out, const float *restrict x, const tp_k_window_t *q) {
    tp_k_inside_t in = tp_inside(q);
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
    tp_k_inside_t in = tp_inside(q);
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

void tp_k_mean_f32(float *restrict out, const float *restrict x, const tp_k_window_t *q) {
    tp_k_inside_t in = tp_inside(q);
    float places = (float)((in.y_end - in.y) * (in.x_end - in.x));
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
    tp_k_inside_t in = tp_inside(q);
    float places = (float)((in.y_end - in.y) * (in.x_end - in.x));
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

#endif

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
