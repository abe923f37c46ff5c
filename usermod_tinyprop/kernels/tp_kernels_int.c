// The integer kernels for any core. Four rows share what they read of x and dx.
#include "tp_kernels_int.h"

#if TP_INTEGER

// Four bytes at an address that is a multiple of 4, whatever they are.
typedef uint32_t __attribute__((may_alias)) tp_word_t;

static inline bool tp_is_aligned(const void *p) {
    return ((uintptr_t)p & 3u) == 0;
}

#if !TP_KERNELS_ARMV6M

uint32_t tp_ki_pixels(void *out, bool wide, const void *x, size_t fours, const tp_ki_scale_t *by) {
    uint32_t factor = (uint32_t)by->factor, half = (uint32_t)by->half, shift = (uint32_t)by->shift;
    uint32_t most = 0;
    tp_word_t *to = out;
    for (const tp_word_t *q = x, *end = q + fours; q < end; q++) {
        uint32_t four = *q, v[4] = {0, 0, 0, 0};
        for (uint32_t i = 0; four != 0; i++, four >>= 8) {
            v[i] = ((four & 255u) * factor + half) >> shift;
            most = v[i] > most ? v[i] : most;
        }
        if (wide) {
            *to++ = (v[0] & 0xffffu) | v[1] << 16;
            *to++ = (v[2] & 0xffffu) | v[3] << 16;
        } else {
            *to++ = (v[0] & 255u) | (v[1] & 255u) << 8 | (v[2] & 255u) << 16 | v[3] << 24;
        }
    }
    return most;
}

#endif

uint32_t tp_ki_scale(void *out, bool wide, const void *x, uint8_t dtype, size_t n,
    const tp_ki_scale_t *by) {
    int32_t last = INT32_MIN, v = 0, most = 0, least = 0;
    if (dtype == 'B' && by->offset == 0 && by->factor > 0 && tp_is_aligned(x) &&
        tp_is_aligned(out)) {
        size_t done = n & ~(size_t)3u;
        most = (int32_t)tp_ki_pixels(out, wide, x, done / 4u, by);
        out = (uint8_t *)out + (wide ? 2u * done : done);
        x = (const uint8_t *)x + done;
        n -= done;
    }
    for (size_t i = 0; i < n; i++) {
        int32_t q = dtype == 'B' ? ((const uint8_t *)x)[i]
            : dtype == 'b'       ? ((const int8_t *)x)[i]
                                 : ((const int16_t *)x)[i];
        if (q != last) { // neighbours are often the same
            last = q;
            v = ((q * by->factor + by->half) >> by->shift) + by->offset;
            most = v > most ? v : most;
            least = v < least ? v : least;
        }
        if (wide) {
            ((int16_t *)out)[i] = (int16_t)v;
        } else {
            ((int8_t *)out)[i] = (int8_t)v;
        }
    }
    return (uint32_t)(most > -least ? most : -least);
}

#define TP_KI_COUNT(name, type) \
    uint32_t tp_ki_count_##name(const type *x, size_t n) { \
        uint32_t total = 0; \
        for (size_t i = 0; i < n; i++) { \
            total += x[i] != 0; \
        } \
        return total; \
    }

TP_KI_COUNT(i8, int8_t)
TP_KI_COUNT(i16, int16_t)

#if !TP_KERNELS_ARMV6M

// Zeros lie together, whole words of them.
#define TP_KI_INDEX(name, type) \
    uint32_t tp_ki_index_##name(uint16_t *columns, const type *x, size_t n) { \
        const size_t some = 4u / sizeof(type); \
        uint32_t total = 0; \
        for (size_t i = 0; i < n;) { \
            size_t end = n - i < some ? n : i + some; \
            if (tp_is_aligned(x + i) && end == i + some && \
                *(const tp_word_t *)(const void *)(x + i) == 0) { \
                i = end; \
            } \
            for (; i < end; i++) { \
                columns[total] = (uint16_t)i; \
                total += x[i] != 0; \
            } \
        } \
        return total; \
    }

TP_KI_INDEX(i8, int8_t)
TP_KI_INDEX(i16, int16_t)

#endif

#if !TP_KERNELS_ARMV6M && !TP_KERNELS_DSP && !TP_KERNELS_MVE

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

#if !TP_KERNELS_ARMV6M

static inline int32_t tp_ki_clip(int32_t v, int32_t limit) {
    return v < -limit ? -limit : v > limit ? limit : v;
}

size_t tp_ki_finish(void *out, size_t bytes, const int32_t *z, const int32_t *b, size_t n,
    const tp_ki_finish_t *by, uint32_t *most) {
    int32_t up = by->up > 0 ? by->up : 0, half_b = by->up < 0 ? 1 << (-by->up - 1) : 0;
    int32_t down = by->down > 0 ? by->down : 0, half = by->down > 0 ? 1 << (by->down - 1) : 0;
    int32_t down_b = by->up < 0 ? -by->up : 0, again = by->down < 0 ? -by->down : 0;
    int32_t limit = by->limit, peak = (int32_t)*most, least = by->relu ? 0 : INT32_MIN;
    int32_t room = 1 << (28 - up);
    const int32_t *from = z;
    for (const int32_t *end = z + n; z < end; z++, b++) {
        int32_t v = *z, bias = *b;
        if (v != tp_ki_clip(v, 1 << 28) || bias != tp_ki_clip(bias, room)) {
            break;
        }
        v += (int32_t)((uint32_t)((bias + half_b) >> down_b) << up);
        v = v > least ? v : least;
        int32_t size = v < 0 ? -v : v;
        peak = size > peak ? size : peak;
        v = tp_ki_clip((v + half) >> down, limit);
        if (again > 0) {
            v = tp_ki_clip((int32_t)((uint32_t)v << again), limit);
        }
        if (bytes == 1u) {
            *(int8_t *)out = (int8_t)v;
        } else if (bytes == 2u) {
            *(int16_t *)out = (int16_t)v;
        } else {
            *(int32_t *)out = v;
        }
        out = (uint8_t *)out + bytes;
    }
    *most = (uint32_t)peak;
    return (size_t)(z - from);
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

#if !TP_KERNELS_MVE

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

#endif

#define TP_KI_MOMENTUM(name, type) \
    void tp_ki_row_momentum_##name(const tp_ki_row_t *row, const tp_ki_velocity_t *q, \
        const int16_t *restrict x, size_t cols) { \
        type *restrict w = row->w; \
        int16_t *restrict v = q->v; \
        for (size_t i = 0; i < cols; i++) { \
            int32_t noise = (int32_t)tp_ki_noise(row->noise, row->shift, i); \
            int32_t next = (row->g * x[i] + noise) >> row->shift; \
            next += (q->keep * v[i] + (int32_t)tp_ki_noise(q->noise, 15, i)) >> 15; \
            next = next < -32767 ? -32767 : next > 32767 ? 32767 : next; \
            v[i] = (int16_t)next; \
            next = (next + (int32_t)tp_ki_noise(q->last, q->shift, i)) >> q->shift; \
            w[i] = (type)tp_ki_clip_##name(w[i] + next); \
        } \
    }

TP_KI_MOMENTUM(i8, int8_t)
TP_KI_MOMENTUM(i16, int16_t)

#if !TP_KERNELS_ARMV6M && !TP_KERNELS_DSP && !TP_KERNELS_MVE

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
    void tp_ki_channels_##name(int32_t *restrict z, const type *w, size_t taps, const type *x, \
        size_t n) { \
        for (int32_t *end = z + n; z < end; z++, w += taps, x++) { \
            *z += *w * *x; \
        } \
    } \
    void tp_ki_axpy_##name(int32_t *sum, int32_t d, const type *x, size_t n) { \
        for (size_t i = 0; i < n; i++) { \
            sum[i] += d * x[i]; \
        } \
    }

TP_KI_AXPY(i8, int8_t)
TP_KI_AXPY(i16, int16_t)

#if !TP_KERNELS_ARMV6M && !TP_KERNELS_MVE

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
