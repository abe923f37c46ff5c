// The integer kernels for any core. Four rows share what they read of x and dx.
#include "tp_kernels_int.h"

#if TP_INTEGER

// Neighbours are often the same (background): what it became is remembered.
#define TP_KI_SCALE(from, to) \
    do { \
        const from *q = x; \
        to *p = out; \
        for (const from *end = q + n; q < end; q++, p++) { \
            if (*q != last) { \
                last = *q; \
                v = ((last * by->factor + by->half) >> by->shift) + by->offset; \
                most = v > most ? v : most; \
                least = v < least ? v : least; \
            } \
            *p = (to)v; \
        } \
    } while (0)

uint32_t tp_ki_scale(void *out, bool wide, const void *x, uint8_t dtype, size_t n,
    const tp_ki_scale_t *by) {
    int32_t last = INT32_MIN, v = 0, most = 0, least = 0;
    if (dtype == 'B' && wide) {
        TP_KI_SCALE(uint8_t, int16_t);
    } else if (dtype == 'B') {
        TP_KI_SCALE(uint8_t, int8_t);
    } else if (dtype == 'b' && wide) {
        TP_KI_SCALE(int8_t, int16_t);
    } else if (dtype == 'b') {
        TP_KI_SCALE(int8_t, int8_t);
    } else if (wide) {
        TP_KI_SCALE(int16_t, int16_t);
    } else {
        TP_KI_SCALE(int16_t, int8_t);
    }
    return (uint32_t)(most > -least ? most : -least);
}

#define TP_KI_COUNTS(name, type) \
    uint32_t tp_ki_count_##name(const type *x, size_t n) { \
        uint32_t total = 0; \
        for (size_t i = 0; i < n; i++) { \
            total += x[i] != 0; \
        } \
        return total; \
    } \
    uint32_t tp_ki_index_##name(uint16_t *columns, const type *x, size_t n) { \
        uint32_t total = 0; \
        for (size_t i = 0; i < n; i++) { \
            columns[total] = (uint16_t)i; \
            total += x[i] != 0; \
        } \
        return total; \
    }

TP_KI_COUNTS(i8, int8_t)
TP_KI_COUNTS(i16, int16_t)

#if !TP_KERNELS_ARMV6M && !TP_KERNELS_DSP

#if TP_KERNELS_ARMV7M
#define TP_KI_FOUR_DOTS(name) \
    if (columns == NULL && four) { \
        tp_ki_four_dots_##name(z, w + from, x + from, cols, to - from); \
        return; \
    }
#else
#define TP_KI_FOUR_DOTS(name)
#endif

// z of one or four rows from the columns `from` .. `to` of them, or of index.
#define TP_KI_SUMS(name, type) \
    static inline void tp_ki_sum_##name(int32_t *z, const type *w, const type *x, size_t from, \
        size_t to, const uint16_t *columns) { \
        int32_t sum = 0; \
        for (size_t j = from; j < to; j++) { \
            size_t i = columns != NULL ? columns[j] : j; \
            sum += w[i] * x[i]; \
        } \
        z[0] = sum; \
    } \
    static inline void tp_ki_four_##name(int32_t z[4], const type *w, const type *x, size_t cols, \
        size_t from, size_t to, const uint16_t *columns) { \
        const type *w1 = w + cols, *w2 = w1 + cols, *w3 = w2 + cols; \
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0; \
        for (size_t j = from; j < to; j++) { \
            size_t i = columns != NULL ? columns[j] : j; \
            int32_t v = x[i]; \
            s0 += w[i] * v; \
            s1 += w1[i] * v; \
            s2 += w2[i] * v; \
            s3 += w3[i] * v; \
        } \
        z[0] = s0, z[1] = s1, z[2] = s2, z[3] = s3; \
    } \
    static void tp_ki_sums_##name(int32_t *z, const type *w, const type *x, bool four, \
        size_t cols, size_t from, size_t to, const uint16_t *columns) { \
        TP_KI_FOUR_DOTS(name) \
        if (columns != NULL && four) { \
            tp_ki_four_##name(z, w, x, cols, from, to, columns); \
        } else if (columns != NULL) { \
            tp_ki_sum_##name(z, w, x, from, to, columns); \
        } else if (four) { \
            tp_ki_four_##name(z, w, x, cols, from, to, NULL); \
        } else { \
            tp_ki_sum_##name(z, w, x, from, to, NULL); \
        } \
    }

TP_KI_SUMS(i8, int8_t)
TP_KI_SUMS(i16, int16_t)

void tp_ki_matvec_i8(int32_t *z, const int8_t *w, const int8_t *x, size_t rows, size_t cols,
    const tp_ki_index_t *index) {
    const uint16_t *columns = index != NULL ? index->columns : NULL;
    size_t n = index != NULL ? index->total : cols;
    for (size_t taken; rows > 0; rows -= taken, z += taken, w += taken * cols) {
        taken = rows >= 4u ? 4u : 1u;
        tp_ki_sums_i8(z, w, x, taken == 4u, cols, 0, n, columns);
    }
}

// 64 terms fit 32 bits.
void tp_ki_matvec_i16(int32_t *z, const int16_t *w, const int16_t *x, size_t rows, size_t cols,
    uint32_t shift, const tp_ki_index_t *index) {
    const uint16_t *columns = index != NULL ? index->columns : NULL;
    size_t n = index != NULL ? index->total : cols;
    for (size_t taken; rows > 0; rows -= taken, z += taken, w += taken * cols) {
        int64_t sums[4] = {0};
        taken = rows >= 4u ? 4u : 1u;
        for (size_t from = 0; from < n; from += 64u) {
            int32_t part[4];
            size_t to = n - from < 64u ? n : from + 64u;
            tp_ki_sums_i16(part, w, x, taken == 4u, cols, from, to, columns);
            for (size_t r = 0; r < taken; r++) {
                sums[r] += part[r];
            }
        }
        for (size_t r = 0; r < taken; r++) {
            z[r] = (int32_t)(sums[r] >> shift);
        }
    }
}

#endif

#ifdef __ARM_FEATURE_SAT
#include <arm_acle.h>
#define tp_ki_clip_i8(v) __ssat(v, 8)
#define tp_ki_clip_i16(v) __ssat(v, 16)
#else
static inline int32_t tp_ki_clip_i8(int32_t v) {
    return v < INT8_MIN ? INT8_MIN : v > INT8_MAX ? INT8_MAX : v;
}

static inline int32_t tp_ki_clip_i16(int32_t v) {
    return v < INT16_MIN ? INT16_MIN : v > INT16_MAX ? INT16_MAX : v;
}
#endif

// Two columns share their noise. x is of x_type.
#define TP_KI_ROW(name, type, x_type, clip) \
    static void name(const tp_ki_row_t *row, uint32_t shift, const x_type *restrict x, \
        size_t cols) { \
        type *restrict w = row->w; \
        int32_t g = row->g; \
        uint32_t noise = row->noise, step = tp_ki_noise_step(shift), mask = (1u << shift) - 1u; \
        size_t i = 0; \
        for (; i + 2u <= cols; i += 2u, noise += step) { \
            int32_t n = (int32_t)(noise & mask); \
            w[i] = (type)clip(w[i] + ((g * x[i] + n) >> shift)); \
            w[i + 1u] = (type)clip(w[i + 1u] + ((g * x[i + 1u] + n) >> shift)); \
        } \
        if (i < cols) { \
            w[i] = (type)clip(w[i] + ((g * x[i] + (int32_t)(noise & mask)) >> shift)); \
        } \
    }

TP_KI_ROW(tp_ki_wide_i8, int8_t, int16_t, tp_ki_clip_i8)
TP_KI_ROW(tp_ki_wide_i16, int16_t, int16_t, tp_ki_clip_i16)

void tp_ki_row_update_wide_i8(const tp_ki_row_t *row, const int16_t *x, size_t cols) {
    tp_ki_wide_i8(row, row->shift, x, cols);
}

void tp_ki_row_update_wide_i16(const tp_ki_row_t *row, const int16_t *x, size_t cols) {
    tp_ki_wide_i16(row, row->shift, x, cols);
}

#if !TP_KERNELS_ARMV6M && !TP_KERNELS_DSP

TP_KI_ROW(tp_ki_row_i8, int8_t, int8_t, tp_ki_clip_i8)

#if TP_KERNELS_ARMV7M
#define DENSE(name) \
    if (index == NULL) { \
        tp_ki_dense_update_##name(rows, n_rows, x, cols); \
        return; \
    }
#else
#define DENSE(name)
#endif

#define TP_KI_UPDATE(name, type, row_update, its_shift) \
    void tp_ki_rows_update_##name(const tp_ki_row_t *rows, size_t n_rows, const type *x, \
        size_t cols, const tp_ki_index_t *index) { \
        DENSE(name) for (; n_rows > 0; n_rows--, rows++) { \
            if (index == NULL) { \
                row_update(rows, its_shift, x, cols); \
                continue; \
            } \
            type *w = rows->w; \
            int32_t g = rows->g; \
            uint32_t noise = rows->noise, shift = its_shift, step = tp_ki_noise_step(shift); \
            uint32_t mask = (1u << shift) - 1u; \
            const uint16_t *columns = index->columns; \
            for (const uint16_t *end = columns + index->total; columns != end; columns++) { \
                uint32_t i = *columns; \
                int32_t n = (int32_t)((noise + (i >> 1) * step) & mask); \
                w[i] = (type)tp_ki_clip_##name(w[i] + ((g * x[i] + n) >> shift)); \
            } \
        } \
    }

TP_KI_UPDATE(i8, int8_t, tp_ki_row_i8, rows->shift)
TP_KI_UPDATE(i16, int16_t, tp_ki_wide_i16, 16u)

#endif

#define TP_KI_AXPY(name, type) \
    void tp_ki_axpy_##name(int32_t *sum, int32_t d, const type *x, size_t n) { \
        for (size_t i = 0; i < n; i++) { \
            sum[i] += d * x[i]; \
        } \
    }

TP_KI_AXPY(i8, int8_t)
TP_KI_AXPY(i16, int16_t)

#if !TP_KERNELS_ARMV6M

// A row that is not there counts with g = 0.
#define TP_KI_DX(name, type, dx_shift) \
    static inline void tp_ki_four_dx_##name(int32_t *restrict dx, const tp_ki_row_t *rows, \
        size_t n_rows, size_t n, const uint16_t *columns) { \
        const type *w0 = rows[0].w, *w1 = w0, *w2 = w0, *w3 = w0; \
        int32_t g0 = rows[0].g, g1 = 0, g2 = 0, g3 = 0; \
        if (n_rows > 1u) { \
            w1 = rows[1].w, g1 = rows[1].g; \
        } \
        if (n_rows > 2u) { \
            w2 = rows[2].w, g2 = rows[2].g; \
        } \
        if (n_rows > 3u) { \
            w3 = rows[3].w, g3 = rows[3].g; \
        } \
        for (size_t j = 0; j < n; j++) { \
            size_t i = columns != NULL ? columns[j] : j; \
            int32_t sum = ((g0 * w0[i]) >> (dx_shift)) + ((g1 * w1[i]) >> (dx_shift)); \
            sum += ((g2 * w2[i]) >> (dx_shift)) + ((g3 * w3[i]) >> (dx_shift)); \
            dx[i] += sum; \
        } \
    } \
    void tp_ki_rows_dx_##name(int32_t *dx, const tp_ki_row_t *rows, size_t n_rows, size_t cols, \
        const tp_ki_index_t *index) { \
        for (size_t o = 0; o < n_rows; o += 4u) { \
            if (index != NULL) { \
                tp_ki_four_dx_##name(dx, rows + o, n_rows - o, index->total, index->columns); \
            } else { \
                tp_ki_four_dx_##name(dx, rows + o, n_rows - o, cols, NULL); \
            } \
        } \
    }

TP_KI_DX(i8, int8_t, 0)
TP_KI_DX(i16, int16_t, 8)

#endif

#endif
