// The definition of the integer kernels, for any core (see tp_kernels_int.h).
#include "tp_kernels_int.h"

#if TP_INTEGER

// Both element types have the same loops. x of i16 takes at most 64 terms into 32 bits.
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

// A file for one instruction set has these four.
#if !TP_KERNELS_ARMV6M && !TP_KERNELS_DSP

void tp_ki_matvec_i8(int32_t *z, const int8_t *w, const int8_t *x, size_t rows, size_t cols,
    const tp_ki_index_t *index) {
    for (size_t o = 0; o < rows; o++, w += cols) {
        int32_t sum = 0;
        if (index == NULL) {
            for (size_t i = 0; i < cols; i++) {
                sum += w[i] * x[i];
            }
        } else {
            for (uint32_t j = 0; j < index->total; j++) {
                uint32_t i = index->columns[j];
                sum += w[i] * x[i];
            }
        }
        z[o] = sum;
    }
}

void tp_ki_matvec_i16(int32_t *z, const int16_t *w, const int16_t *x, size_t rows, size_t cols,
    uint32_t shift, const tp_ki_index_t *index) {
    for (size_t o = 0; o < rows; o++, w += cols) {
        int64_t sum = 0;
        uint32_t n = index != NULL ? index->total : (uint32_t)cols;
        for (uint32_t j = 0; j < n; j++) {
            uint32_t i = index != NULL ? index->columns[j] : j;
            sum += w[i] * x[i];
        }
        z[o] = (int32_t)(sum >> shift);
    }
}

#endif

static int32_t tp_ki_clip_i8(int32_t v) {
    return v < INT8_MIN ? INT8_MIN : v > INT8_MAX ? INT8_MAX : v;
}

static int32_t tp_ki_clip_i16(int32_t v) {
    return v < INT16_MIN ? INT16_MIN : v > INT16_MAX ? INT16_MAX : v;
}

#define TP_KI_OTHERS(name, type) \
    void tp_ki_row_update_wide_##name(const tp_ki_row_t *row, const int16_t *x, size_t cols) { \
        type *w = row->w; \
        for (size_t i = 0; i < cols; i++) { \
            int32_t noise = (int32_t)tp_ki_noise(row->noise, row->shift, i); \
            w[i] = (type)tp_ki_clip_##name(w[i] + ((row->g * x[i] + noise) >> row->shift)); \
        } \
    } \
    void tp_ki_axpy_##name(int32_t *sum, int32_t d, const type *x, size_t n) { \
        for (size_t i = 0; i < n; i++) { \
            sum[i] += d * x[i]; \
        } \
    }

TP_KI_OTHERS(i8, int8_t)
TP_KI_OTHERS(i16, int16_t)

#if !TP_KERNELS_ARMV6M && !TP_KERNELS_DSP

#define TP_KI_UPDATE(name, type) \
    void tp_ki_rows_update_##name(const tp_ki_row_t *rows, size_t n_rows, const type *x, \
        size_t cols, const tp_ki_index_t *index) { \
        uint32_t n = index != NULL ? index->total : (uint32_t)cols; \
        for (size_t o = 0; o < n_rows; o++) { \
            const tp_ki_row_t *row = &rows[o]; \
            type *w = row->w; \
            for (uint32_t j = 0; j < n; j++) { \
                uint32_t i = index != NULL ? index->columns[j] : j; \
                int32_t noise = (int32_t)tp_ki_noise(row->noise, row->shift, i); \
                w[i] = (type)tp_ki_clip_##name(w[i] + ((row->g * x[i] + noise) >> row->shift)); \
            } \
        } \
    }

TP_KI_UPDATE(i8, int8_t)
TP_KI_UPDATE(i16, int16_t)

#endif

#if !TP_KERNELS_ARMV6M

#define TP_KI_DX(name, type, dx_shift) \
    void tp_ki_rows_dx_##name(int32_t *dx, const tp_ki_row_t *rows, size_t n_rows, size_t cols, \
        const tp_ki_index_t *index) { \
        uint32_t n = index != NULL ? index->total : (uint32_t)cols; \
        for (size_t o = 0; o < n_rows; o++) { \
            const type *w = rows[o].w; \
            int32_t g = rows[o].g; \
            for (uint32_t j = 0; j < n; j++) { \
                uint32_t i = index != NULL ? index->columns[j] : j; \
                dx[i] += (g * w[i]) >> (dx_shift); \
            } \
        } \
    }

TP_KI_DX(i8, int8_t, 0)
TP_KI_DX(i16, int16_t, 8)

#endif

#endif
