// Inner loops of integer training. tp_kernels_int.c is the definition; a file for one instruction
// set may replace single functions where it is equal bit for bit and measured faster. Kernels
// check nothing. Names: w a weight row or matrix (rows, cols), x an input of the same type: of i8
// |x| <= 127, of i16 |x| <= 1023. Rows may start at any element. `>>` rounds down.
#ifndef TP_KERNELS_INT_H
#define TP_KERNELS_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../core/tp_config.h"

// Whose file holds the loops over weights; one of them at most is 1.
#if TP_INTEGER && !TP_GENERIC_ONLY && defined(__ARM_ARCH_6M__)
#define TP_KERNELS_ARMV6M 1
#elif TP_INTEGER && !TP_GENERIC_ONLY && defined(__ARM_FEATURE_MVE)
#define TP_KERNELS_MVE 1
#elif TP_INTEGER && !TP_GENERIC_ONLY && defined(__thumb2__) && defined(__ARM_FEATURE_SIMD32)
#define TP_KERNELS_DSP 1
#elif TP_INTEGER && !TP_GENERIC_ONLY && defined(__thumb2__) && defined(__ARM_ARCH_7M__)
#define TP_KERNELS_ARMV7M 1
#elif TP_INTEGER && !TP_GENERIC_ONLY && defined(__SSE2__)
#define TP_KERNELS_SSE2_INT 1
#endif
#ifndef TP_KERNELS_ARMV6M
#define TP_KERNELS_ARMV6M 0
#endif
#ifndef TP_KERNELS_MVE
#define TP_KERNELS_MVE 0
#endif
#ifndef TP_KERNELS_DSP
#define TP_KERNELS_DSP 0
#endif
#ifndef TP_KERNELS_ARMV7M
#define TP_KERNELS_ARMV7M 0
#endif
#ifndef TP_KERNELS_SSE2_INT
#define TP_KERNELS_SSE2_INT 0
#endif

// Columns whose input is not zero, rising; NULL stands for all columns.
typedef struct {
    const uint16_t *columns;
    uint32_t total;
} tp_ki_index_t;

// One row of weights at work.
typedef struct {
    void *w;
    int32_t g;       // d of this row, or its gain
    uint32_t noise;  // 0 <= noise < 2^shift
    uint32_t shift;
} tp_ki_row_t;

// out[i] = ((x[i] * factor + half) >> shift) + offset, cut to its type; nothing overflows. x: uint8,
// int8 or int16 ('B', 'b', 'h'), out: int8, or int16 where `wide`. Returns the largest |out| before it
// was cut. columns: NULL, or where the columns of what is not zero go (room for n), moved on behind them;
// theirs only where nothing was cut.
typedef struct {
    int32_t factor, half, shift, offset;
} tp_ki_scale_t;
uint32_t tp_ki_scale(void *out, bool wide, const void *x, uint8_t dtype, size_t n,
    const tp_ki_scale_t *by, uint16_t **columns);

// Of that: so many times four pixels, where 0 stays 0; both addresses are multiples of 4.
uint32_t tp_ki_pixels(void *out, bool wide, const void *x, size_t fours, const tp_ki_scale_t *by,
    uint16_t **columns);

// How many elements are not zero; their columns, rising (room for n).
uint32_t tp_ki_count_i8(const int8_t *x, size_t n);
uint32_t tp_ki_count_i16(const int16_t *x, size_t n);
uint32_t tp_ki_index_i8(uint16_t *columns, const int8_t *x, size_t n);
uint32_t tp_ki_index_i16(uint16_t *columns, const int16_t *x, size_t n);

// z[o] = sum w[o, i] * x[i], exact (i16: >> shift, which makes it fit).
void tp_ki_matvec_i8(int32_t *z, const int8_t *w, const int8_t *x, size_t rows, size_t cols,
    const tp_ki_index_t *index);
void tp_ki_matvec_i16(int32_t *z, const int16_t *w, const int16_t *x, size_t rows, size_t cols,
    uint32_t shift, const tp_ki_index_t *index);

// out[o] = clip((z[o] + b[o] * 2^up) * 2^-down) to -limit..limit, both rounded (halves up); below 0
// it is 0 where `relu`. -16 < up < 16, -8 < down < 31, limit <= 2^22; out: int8, int16 or int32, of so
// many bytes. Ends before a z or b that is too large for 32 bits; returns how many it did. *most
// becomes the largest |.| before it is shifted down, where that is more.
typedef struct {
    int32_t up, down, limit;
    bool relu;
} tp_ki_finish_t;
size_t tp_ki_finish(void *out, size_t bytes, const int32_t *z, const int32_t *b, size_t n,
    const tp_ki_finish_t *by, uint32_t *most);

// dx[i] += g * w[i] (i16: (g * w[i]) >> 8) for each of the rows; |g| <= 32767, and so few rows that
// nothing overflows.
void tp_ki_rows_dx_i8(int32_t *dx, const tp_ki_row_t *rows, size_t n_rows, size_t cols,
    const tp_ki_index_t *index);
void tp_ki_rows_dx_i16(int32_t *dx, const tp_ki_row_t *rows, size_t n_rows, size_t cols,
    const tp_ki_index_t *index);

// dx of the first columns from four rows, or as many as there are, where a file for the instruction set
// has that; returns how many columns.
size_t tp_ki_dense_dx_i8(int32_t *dx, const tp_ki_row_t *rows, size_t n_rows, size_t cols);
size_t tp_ki_dense_dx_i16(int32_t *dx, const tp_ki_row_t *rows, size_t n_rows, size_t cols);

// Noise of column i of a row: a Weyl sequence, which spreads evenly, so that the errors of rounding
// nearly cancel; two neighbours share a value. noise < 2^shift.
static inline uint32_t tp_ki_noise_step(uint32_t shift) {
    return (0x9e3779b9u >> (32u - shift)) | 1u;
}
static inline uint32_t tp_ki_noise(uint32_t noise, uint32_t shift, size_t i) {
    return (noise + (uint32_t)(i >> 1) * tp_ki_noise_step(shift)) & ((1u << shift) - 1u);
}

// w[i] = w[i] + ((g * x[i] + noise_i) >> shift), clipped to its type, for each of the rows.
// i8: |g| <= 127, 8 <= shift <= 14. i16: |g| < 2^20, shift 16.
void tp_ki_rows_update_i8(const tp_ki_row_t *rows, size_t n_rows, const int8_t *x, size_t cols,
    const tp_ki_index_t *index);
void tp_ki_rows_update_i16(const tp_ki_row_t *rows, size_t n_rows, const int16_t *x, size_t cols,
    const tp_ki_index_t *index);
// z of four rows without index, where a file for the instruction set has only that.
void tp_ki_four_dots_i8(int32_t z[4], const int8_t *w, const int8_t *x, size_t cols);
void tp_ki_four_dots_i16(int32_t z[4], const int16_t *w, const int16_t *x, size_t cols,
    uint32_t shift);
// Both without index, where a file for the instruction set has only that.
void tp_ki_dense_update_i8(const tp_ki_row_t *rows, size_t n_rows, const int8_t *x, size_t cols);
void tp_ki_dense_update_i16(const tp_ki_row_t *rows, size_t n_rows, const int16_t *x, size_t cols);
// The same with an x of more bits, |x| <= 32767, |g| <= 32767, 5 <= shift <= 29.
void tp_ki_row_update_wide_i8(const tp_ki_row_t *row, const int16_t *x, size_t cols);
void tp_ki_row_update_wide_i16(const tp_ki_row_t *row, const int16_t *x, size_t cols);

// z[j] += w[j * taps] * x[j]: one tap of n channels with a filter each.
void tp_ki_channels_i8(int32_t *z, const int8_t *w, size_t taps, const int8_t *x, size_t n);
void tp_ki_channels_i16(int32_t *z, const int16_t *w, size_t taps, const int16_t *x, size_t n);

// The velocity of a row, v[i] = v[i] * keep * 2^-15 + what w[i] gains above, clipped to 16 bits; then
// w[i] = w[i] + v[i] * 2^-shift. All three shifts are rounded by noise; 0 <= keep <= 2^15.
typedef struct {
    int16_t *v;
    int32_t keep;
    uint32_t noise; // of v * keep, < 2^15
    uint32_t last;  // noise of v * 2^-shift, < 2^shift
    uint32_t shift;
} tp_ki_velocity_t;
void tp_ki_row_momentum_i8(const tp_ki_row_t *row, const tp_ki_velocity_t *q, const int16_t *x,
    size_t cols);
void tp_ki_row_momentum_i16(const tp_ki_row_t *row, const tp_ki_velocity_t *q, const int16_t *x,
    size_t cols);

// How many of n weights are at least seven eighths of their range large; w: a multiple of 4.
size_t tp_ki_count_large(const void *w, size_t n, bool wide);

// sum |d|; it fits.
uint32_t tp_ki_sum_abs(const int32_t *d, size_t n);
// d[i] = 0 where a[i] <= 0; returns the bits of all |d| that are left, together.
uint32_t tp_ki_relu_d_i8(int32_t *d, const int8_t *a, size_t n);
uint32_t tp_ki_relu_d_i16(int32_t *d, const int16_t *a, size_t n);
// d[i] * 2^-shift, rounded (halves up), clipped to 32767; shift > 0, |d| < 2^(15 + shift).
void tp_ki_narrow(int32_t *d, size_t n, uint32_t shift);

// sum[i] += d * x[i]; |d| <= 32767
void tp_ki_axpy_i8(int32_t *sum, int32_t d, const int8_t *x, size_t n);
void tp_ki_axpy_i16(int32_t *sum, int32_t d, const int16_t *x, size_t n);

#endif
