// Inner loops on pointers and dimensions. tp_kernels_generic.c is the definition; a file for one
// instruction set may replace single functions where it is equal bit for bit and measured faster.
// Kernels check nothing. Names: w a weight row or matrix (rows, cols), x an input, d a delta.
#ifndef TP_KERNELS_H
#define TP_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../core/tp_config.h"

// Whose file holds the loops that make up the work; one of them at most is 1.
#if !TP_GENERIC_ONLY && defined(__SSE2__)
#define TP_KERNELS_SSE2 1
#elif !TP_GENERIC_ONLY && defined(__thumb2__) && defined(__ARM_FP) && (__ARM_FP & 4)
#define TP_KERNELS_VFP 1
#endif
#ifndef TP_KERNELS_SSE2
#define TP_KERNELS_SSE2 0
#endif
#ifndef TP_KERNELS_VFP
#define TP_KERNELS_VFP 0
#endif

// v == 0, by its bits: a core without an FPU would call a routine to compare.
static inline bool tp_k_is_zero(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    return (bits << 1) == 0;
}

// Columns whose input is not zero, grouped by lane: first the count[0] columns with i % 4 == 0 in
// rising order, then count[1] with i % 4 == 1, and so on.
typedef struct {
    const uint16_t *columns;
    uint32_t count[4];
    uint32_t total;
} tp_k_index_t;

// The first i >= from with x[i] != 0, or up to three before it; n where there is none.
size_t tp_k_next_f32(const float *x, size_t from, size_t n);

// How many elements of x (n) are not zero.
uint32_t tp_k_count_f32(const float *x, size_t n);

// index = the non-zero elements of x (n); columns has room for n.
void tp_k_index_f32(tp_k_index_t *index, uint16_t *columns, const float *x, size_t n);

// Lane sums: sum x[i], sum |x[i]|, sum x[i] * x[i].
float tp_k_sum_f32(const float *x, size_t n);
float tp_k_sum_abs_f32(const float *x, size_t n);
float tp_k_sum_squares_f32(const float *x, size_t n);

// z[o] = lane_sum(w[o, i] * x[i]) + b[o]
void tp_k_matvec_f32(float *z, const float *w, const float *x, const float *b, size_t rows,
    size_t cols);
// The same, only the columns of index; x is zero in all others.
void tp_k_matvec_index_f32(float *z, const float *w, const float *x, const float *b, size_t rows,
    size_t cols, const tp_k_index_t *index);

// to[i] = from[i]; x[i] = 0
void tp_k_copy_f32(float *to, const float *from, size_t n);
void tp_k_clear_f32(float *x, size_t n);
// y[i] = y[i] + x[i], y[i] + |x[i]|
void tp_k_add_f32(float *y, const float *x, size_t n);
void tp_k_add_abs_f32(float *y, const float *x, size_t n);
// out (c) = sum over the places of x (places, c), rising from +0
void tp_k_channel_sums_f32(float *out, const float *x, size_t places, size_t c);
// y[i] = y[i] + a * x[i]
void tp_k_axpy_f32(float *y, float a, const float *x, size_t n);
void tp_k_axpy_index_f32(float *y, float a, const float *x, const tp_k_index_t *index);
// y[i] = decay * y[i] + a * x[i]; x may be y
void tp_k_decay_axpy_f32(float *y, float decay, float a, const float *x, size_t n);

// For the rows o (of w) whose d[o] is not zero, in rising order: dx[i] = dx[i] + d[o] * w[o, i].
// Both return how many rows they were. index: only its columns; NULL: all.
size_t tp_k_rows_dx_f32(float *dx, const float *w, const float *d, size_t rows, size_t cols,
    const tp_k_index_t *index);
// For the same rows: w[o, i] = w[o, i] + -(lr * d[o]) * x[i].
size_t tp_k_rows_update_f32(float *w, float lr, const float *d, const float *x, size_t rows,
    size_t cols, const tp_k_index_t *index);
// The inner loops of both for four such rows at once, where there is a file for the instruction
// set: dx[i] = (((dx[i] + d[0] * rows[0][i]) + ..; rows[r][i] = rows[r][i] + g[r] * x[i].
void tp_k_four_dx_f32(float *dx, float *const rows[4], const float d[4], size_t n);
void tp_k_four_update_f32(float *const rows[4], const float g[4], const float *x, size_t n);

// A window of kh x kw places on a map x (h, w, c), its first corner at row y0, column x0, of the
// channels c0 .. c0 + n. It may hang over the edges.
typedef struct {
    int32_t h, w, c, kh, kw, y0, x0, c0, n;
} tp_k_window_t;
// The part of it that lies on the map: rows y .. y_end, columns x .. x_end.
typedef struct {
    int32_t y, y_end, x, x_end;
} tp_k_inside_t;
static inline tp_k_inside_t tp_k_inside(const tp_k_window_t *q) {
    int32_t y_end = q->y0 + q->kh, x_end = q->x0 + q->kw;
    return (tp_k_inside_t){q->y0 > 0 ? q->y0 : 0, y_end < q->h ? y_end : q->h,
        q->x0 > 0 ? q->x0 : 0, x_end < q->w ? x_end : q->w};
}

// patch (kh, kw, n) = what the window covers, 0 outside.
void tp_k_gather_f32(float *patch, const float *x, const tp_k_window_t *q);
// x[place] = x[place] + patch[place], as far as it lies on the map.
void tp_k_scatter_add_f32(float *x, const float *patch, const tp_k_window_t *q);
#if TP_KERNELS_VFP
// Where the d (n) that are not zero are, rising; how many. kept has room for n.
size_t tp_k_kept_f32(const float **kept, const float *d, size_t n);
// So many d are looked at before the rows of what is kept of them get to work.
#define TP_LISTED 64u

// n rows with their d, or what d takes them on by.
static inline void tp_k_factors(float **rows, float *factors, float *w, float lr, bool update,
    const float *d, const float *const *kept, size_t n, size_t cols) {
    for (size_t r = 0; r < n; r++) {
        rows[r] = w + (size_t)(kept[r] - d) * cols;
        factors[r] = update ? -(lr * *kept[r]) : *kept[r];
    }
}
// d[i] = 0 where its bits without the sign, one to the left, are below `from`; of those up to `to` the
// places, rising, and how many.
size_t tp_k_cut_f32(uint32_t *places, float *d, size_t n, uint32_t from, uint32_t to);
// bins[b]++ where d's bits without the sign, one to the left, are at least `low`; b is these bits from
// bit 18 on less base, within 0..255. Of how many of the n: the first fours.
size_t tp_k_bins_f32(uint16_t *bins, const float *d, size_t n, uint32_t low, int32_t base);
#else
static inline size_t tp_k_cut_f32(uint32_t *places, float *d, size_t n, uint32_t from,
    uint32_t to) {
    (void)places, (void)d, (void)n, (void)from, (void)to;
    return 0;
}
#endif
// For the rows o (of w, (kh, kw, n) each) whose d[o] is not zero, if they are few, on the map itself
// where it can be. They return how many rows they were, 0 where nothing was done: too many, or a
// window or an instruction set they are not made for.
#if TP_KERNELS_VFP
// dx[place] = dx[place] + sum_o d[o] * w[o, place], the sum in rising order; dx holds no -0.
size_t tp_k_window_dx_f32(float *dx, const float *w, const float *d, size_t rows,
    const tp_k_window_t *q);
// w[o, place] = w[o, place] + -(lr * d[o]) * x[place]; `patch` has room for one.
size_t tp_k_window_update_f32(float *w, float lr, const float *d, const float *x, float *patch,
    size_t rows, const tp_k_window_t *q);
// Their inner loops, and how lines of `blocks` * 8 values lie on the map and in a row.
typedef struct {
    size_t lines, blocks, map_step, row_step; // steps in bytes from the end of a line
} tp_k_lines_t;
void tp_k_lines_dx_f32(float *dx, const float *const rows[4], const float d[4], size_t kept,
    const tp_k_lines_t *q);
void tp_k_lines_update_f32(float *const rows[4], const float g[4], size_t kept, const float *x,
    const tp_k_lines_t *q);
// Windows of one place each, all of a map, one after the other: rows_dx or (dx NULL) rows_update of
// the first `rows` of the `stride` d of each. cols is a multiple of 8.
typedef struct {
    size_t places, stride, rows, cols;
} tp_k_places_t;
size_t tp_k_places_f32(float *dx, const float *x, float *w, float lr, const float *d,
    const tp_k_places_t *q);
#else
static inline size_t tp_k_window_dx_f32(float *dx, const float *w, const float *d, size_t rows,
    const tp_k_window_t *q) {
    (void)dx, (void)w, (void)d, (void)rows, (void)q;
    return 0;
}
static inline size_t tp_k_window_update_f32(float *w, float lr, const float *d, const float *x,
    float *patch, size_t rows, const tp_k_window_t *q) {
    (void)w, (void)lr, (void)d, (void)x, (void)patch, (void)rows, (void)q;
    return 0;
}
#endif
// Depthwise, one filter w[j] (kh, kw) for each channel j of the window. What lies outside the map
// takes no part. With `skip` zero inputs neither. Results: how many weights took part; without skip
// all of a filter's count.
// z[j] = lane_sum(w[j, k] * x[place k, j]) + b[j]
uint32_t tp_k_depthwise_f32(float *z, const float *w, const float *x, const float *b,
    const tp_k_window_t *q, bool skip);
// Where d[j] is not zero: dx[place k, j] = dx[place k, j] + d[j] * w[j, k].
uint32_t tp_k_depthwise_dx_f32(float *dx, const float *w, const float *x, const float *d,
    const tp_k_window_t *q, bool skip);
// For the first `rows` channels, where d[j] is not zero:
// w[j, k] = w[j, k] + -(lr * d[j]) * x[place k, j].
uint32_t tp_k_depthwise_update_f32(float *w, float lr, const float *x, const float *d, size_t rows,
    const tp_k_window_t *q, bool skip);

// out (n) = the largest value of each channel; a NaN stays.
void tp_k_max_f32(float *out, const float *x, const tp_k_window_t *q);
// dx += d at the first place, row by row, where x is out.
void tp_k_max_backward_f32(float *dx, const float *d, const float *x, const float *out,
    const tp_k_window_t *q);
// out (n) = sum of each channel over the places on the map, row by row from +0, / their number.
void tp_k_mean_f32(float *out, const float *x, const tp_k_window_t *q);
// dx += d / number of places on the map.
void tp_k_mean_backward_f32(float *dx, const float *d, const tp_k_window_t *q);

// Optimisers with state, one row: gradient g[i] = d * x[i] (x NULL: g[i] = d for all i = 0).
// momentum: v = mu * v + (g + wd * w);  w = w - lr * v
void tp_k_momentum_f32(float *w, float *v, float d, const float *x, float lr, float mu, float wd,
    size_t n);
// Adam with the bias-corrected rate.
typedef struct {
    float rate, beta1, beta2, eps, wd;
} tp_k_adam_t;
void tp_k_adam_f32(float *w, float *m, float *v, float d, const float *x, const tp_k_adam_t *p,
    size_t n);

#endif
