// The integer kernels as tp_kernels_int.h defines them, one element after the other, to compare the
// others with (kernels_int.c).
#include "../usermod_tinyprop/kernels/tp_kernels_int.h"

// A test wants to see a difference noticed.
#ifdef BREAK_PLAIN
#define NOISE(row, i) (tp_ki_noise((row)->noise, (row)->shift, i) ^ 1u << ((row)->shift - 1u))
#else
#define NOISE(row, i) tp_ki_noise((row)->noise, (row)->shift, i)
#endif

#define PLAIN(name) extern __typeof__(tp_ki_##name) plain_##name
PLAIN(matvec_i8);
PLAIN(matvec_i16);
PLAIN(rows_dx_i8);
PLAIN(rows_dx_i16);
PLAIN(rows_update_i8);
PLAIN(rows_update_i16);
PLAIN(row_update_wide_i8);
PLAIN(row_update_wide_i16);
PLAIN(channels_i8);
PLAIN(channels_i16);
PLAIN(axpy_i8);
PLAIN(axpy_i16);
PLAIN(index_i8);
PLAIN(index_i16);
PLAIN(scale);
PLAIN(finish);

void plain_matvec_i8(int32_t *z, const int8_t *w, const int8_t *x, size_t rows, size_t cols,
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

void plain_matvec_i16(int32_t *z, const int16_t *w, const int16_t *x, size_t rows, size_t cols,
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

static int32_t tp_ki_clip_i8(int32_t v) {
    return v < INT8_MIN ? INT8_MIN : v > INT8_MAX ? INT8_MAX : v;
}

static int32_t tp_ki_clip_i16(int32_t v) {
    return v < INT16_MIN ? INT16_MIN : v > INT16_MAX ? INT16_MAX : v;
}

#define TP_KI_ROWS(name, type, dx_shift) \
    void plain_rows_dx_##name(int32_t *dx, const tp_ki_row_t *rows, size_t n_rows, size_t cols, \
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
    } \
    void plain_rows_update_##name(const tp_ki_row_t *rows, size_t n_rows, const type *x, \
        size_t cols, const tp_ki_index_t *index) { \
        uint32_t n = index != NULL ? index->total : (uint32_t)cols; \
        for (size_t o = 0; o < n_rows; o++) { \
            const tp_ki_row_t *row = &rows[o]; \
            type *w = row->w; \
            for (uint32_t j = 0; j < n; j++) { \
                uint32_t i = index != NULL ? index->columns[j] : j; \
                int32_t noise = (int32_t)NOISE(row, i); \
                w[i] = (type)tp_ki_clip_##name(w[i] + ((row->g * x[i] + noise) >> row->shift)); \
            } \
        } \
    } \
    void plain_row_update_wide_##name(const tp_ki_row_t *row, const int16_t *x, size_t cols) { \
        type *w = row->w; \
        for (size_t i = 0; i < cols; i++) { \
            int32_t noise = (int32_t)NOISE(row, i); \
            w[i] = (type)tp_ki_clip_##name(w[i] + ((row->g * x[i] + noise) >> row->shift)); \
        } \
    } \
    void plain_channels_##name(int32_t *z, const type *w, size_t taps, const type *x, size_t n) { \
        for (size_t j = 0; j < n; j++) { \
            z[j] += w[j * taps] * x[j]; \
        } \
    } \
    void plain_axpy_##name(int32_t *sum, int32_t d, const type *x, size_t n) { \
        for (size_t i = 0; i < n; i++) { \
            sum[i] += d * x[i]; \
        } \
    }

TP_KI_ROWS(i8, int8_t, 0)
TP_KI_ROWS(i16, int16_t, 8)

#define TP_KI_INDEX(name, type) \
    uint32_t plain_index_##name(uint16_t *columns, const type *x, size_t n) { \
        uint32_t total = 0; \
        for (size_t i = 0; i < n; i++) { \
            if (x[i] != 0) { \
                columns[total++] = (uint16_t)i; \
            } \
        } \
        return total; \
    }

TP_KI_INDEX(i8, int8_t)
TP_KI_INDEX(i16, int16_t)

static void put(void *out, size_t bytes, size_t i, int64_t v) {
    if (bytes == 1) {
        ((int8_t *)out)[i] = (int8_t)v;
    } else if (bytes == 2) {
        ((int16_t *)out)[i] = (int16_t)v;
    } else {
        ((int32_t *)out)[i] = (int32_t)v;
    }
}

uint32_t plain_scale(void *out, bool wide, const void *x, uint8_t dtype, size_t n,
    const tp_ki_scale_t *by, uint16_t **columns) {
    int64_t most = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t v = dtype == 'B' ? ((const uint8_t *)x)[i]
            : dtype == 'b'       ? ((const int8_t *)x)[i]
                                 : ((const int16_t *)x)[i];
        v = ((v * by->factor + by->half) >> by->shift) + by->offset;
        put(out, wide ? 2 : 1, i, v);
        if (columns != NULL && v != 0) {
            *(*columns)++ = (uint16_t)i;
        }
        v = v < 0 ? -v : v;
        most = v > most ? v : most;
    }
    return (uint32_t)most;
}

static int64_t shifted(int64_t v, int32_t up) {
    return up >= 0 ? v * ((int64_t)1 << up) : (v + ((int64_t)1 << (-up - 1))) >> -up;
}

size_t plain_finish(void *out, size_t bytes, const int32_t *z, const int32_t *b, size_t n,
    const tp_ki_finish_t *by, uint32_t *most) {
    const int64_t room = 1 << 28, room_b = by->up > 0 ? room >> by->up : room;
    for (size_t o = 0; o < n; o++) {
        if (z[o] > room || z[o] < -room || b[o] > room_b || b[o] < -room_b) {
            return o;
        }
        int64_t v = z[o] + shifted(b[o], by->up);
        v = by->relu && v < 0 ? 0 : v;
        int64_t size = v < 0 ? -v : v;
        *most = size > *most ? (uint32_t)size : *most;
        v = shifted(v, -by->down);
        put(out, bytes, o, v < -by->limit ? -by->limit : v > by->limit ? by->limit : v);
    }
    return n;
}
