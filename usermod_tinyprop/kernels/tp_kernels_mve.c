// Inner loops of integer training for cores with the vector extension of Armv8.1-M (Helium: Cortex-M52,
// M55, M85): 16 int8 or 8 int16 weights at a time. Equal to tp_kernels_int.c bit for bit. What is left of
// a row goes through the same instructions with the lanes behind it off. Vectors of bytes may begin
// anywhere, those of int16 at any element.
#include "tp_kernels_int.h"

#if TP_KERNELS_MVE

#include <arm_mve.h>
#include <string.h>

// The index, unless so many inputs are not zero that leaving out the others takes longer: lanes are
// gathered one by one.
static const tp_ki_index_t *tp_worth(const tp_ki_index_t *index, size_t cols, size_t eighths) {
    return index != NULL && index->total * 8u < cols * eighths ? index : NULL;
}

// noise + k * step for k = 0, 1, ..
static inline uint16x8_t tp_noise_16(uint32_t noise, uint32_t step) {
    return vmlaq_n_u16(vdupq_n_u16((uint16_t)noise), vidupq_n_u16(0, 1), (uint16_t)step);
}

static inline uint32x4_t tp_noise_32(uint32_t noise, uint32_t step) {
    return vmlaq_n_u32(vdupq_n_u32(noise), vidupq_n_u32(0, 1), step);
}

// --- z = W * x ---

// Four rows share x; a row that is not there is the first once more.
static inline void tp_four_i8(int32_t s[4], const int8_t *w, size_t next, const int8_t *x,
    size_t cols) {
    const int8_t *w1 = w + next, *w2 = w1 + next, *w3 = w2 + next;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (size_t n = cols / 16u; n > 0; n--, x += 16, w += 16, w1 += 16, w2 += 16, w3 += 16) {
        int8x16_t v = vldrbq_s8(x);
        s0 = vmladavaq_s8(s0, vldrbq_s8(w), v);
        s1 = vmladavaq_s8(s1, vldrbq_s8(w1), v);
        s2 = vmladavaq_s8(s2, vldrbq_s8(w2), v);
        s3 = vmladavaq_s8(s3, vldrbq_s8(w3), v);
    }
    if (cols % 16u != 0) {
        mve_pred16_t p = vctp8q(cols % 16u);
        int8x16_t v = vldrbq_z_s8(x, p);
        s0 = vmladavaq_s8(s0, vldrbq_z_s8(w, p), v);
        s1 = vmladavaq_s8(s1, vldrbq_z_s8(w1, p), v);
        s2 = vmladavaq_s8(s2, vldrbq_z_s8(w2, p), v);
        s3 = vmladavaq_s8(s3, vldrbq_z_s8(w3, p), v);
    }
    s[0] = s0, s[1] = s1, s[2] = s2, s[3] = s3;
}

// The same over an index: of eight columns at a time.
static inline void tp_four_at_i8(int32_t s[4], const int8_t *w, size_t next, const int8_t *x,
    const tp_ki_index_t *index) {
    const int8_t *w1 = w + next, *w2 = w1 + next, *w3 = w2 + next;
    const uint16_t *columns = index->columns;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (int32_t n = (int32_t)index->total; n > 0; n -= 8, columns += 8) {
        mve_pred16_t p = vctp16q((uint32_t)n);
        uint16x8_t at = vldrhq_z_u16(columns, p);
        int16x8_t v = vldrbq_gather_offset_z_s16(x, at, p);
        s0 = vmladavaq_s16(s0, vldrbq_gather_offset_z_s16(w, at, p), v);
        s1 = vmladavaq_s16(s1, vldrbq_gather_offset_z_s16(w1, at, p), v);
        s2 = vmladavaq_s16(s2, vldrbq_gather_offset_z_s16(w2, at, p), v);
        s3 = vmladavaq_s16(s3, vldrbq_gather_offset_z_s16(w3, at, p), v);
    }
    s[0] = s0, s[1] = s1, s[2] = s2, s[3] = s3;
}

void tp_ki_matvec_i8(int32_t *z, const int8_t *w, const int8_t *x, size_t rows, size_t cols,
    const tp_ki_index_t *index) {
    index = tp_worth(index, cols, 2);
    for (size_t taken; rows > 0; rows -= taken, z += taken, w += taken * cols) {
        int32_t s[4];
        taken = rows >= 4u ? 4u : 1u;
        size_t next = taken == 4u ? cols : 0;
        if (index != NULL) {
            tp_four_at_i8(s, w, next, x, index);
        } else {
            tp_four_i8(s, w, next, x, cols);
        }
        memcpy(z, s, taken * sizeof(*z));
    }
}

static inline void tp_two_i16(int64_t s[2], const int16_t *w, size_t next, const int16_t *x,
    size_t cols) {
    const int16_t *w1 = w + next;
    int64_t s0 = 0, s1 = 0;
    for (size_t n = cols / 8u; n > 0; n--, x += 8, w += 8, w1 += 8) {
        int16x8_t v = vldrhq_s16(x);
        s0 = vmlaldavaq_s16(s0, vldrhq_s16(w), v);
        s1 = vmlaldavaq_s16(s1, vldrhq_s16(w1), v);
    }
    if (cols % 8u != 0) {
        mve_pred16_t p = vctp16q(cols % 8u);
        int16x8_t v = vldrhq_z_s16(x, p);
        s0 = vmlaldavaq_s16(s0, vldrhq_z_s16(w, p), v);
        s1 = vmlaldavaq_s16(s1, vldrhq_z_s16(w1, p), v);
    }
    s[0] = s0, s[1] = s1;
}

static inline void tp_two_at_i16(int64_t s[2], const int16_t *w, size_t next, const int16_t *x,
    const tp_ki_index_t *index) {
    const int16_t *w1 = w + next;
    const uint16_t *columns = index->columns;
    int64_t s0 = 0, s1 = 0;
    for (int32_t n = (int32_t)index->total; n > 0; n -= 8, columns += 8) {
        mve_pred16_t p = vctp16q((uint32_t)n);
        uint16x8_t at = vldrhq_z_u16(columns, p);
        int16x8_t v = vldrhq_gather_shifted_offset_z_s16(x, at, p);
        s0 = vmlaldavaq_s16(s0, vldrhq_gather_shifted_offset_z_s16(w, at, p), v);
        s1 = vmlaldavaq_s16(s1, vldrhq_gather_shifted_offset_z_s16(w1, at, p), v);
    }
    s[0] = s0, s[1] = s1;
}

void tp_ki_matvec_i16(int32_t *z, const int16_t *w, const int16_t *x, size_t rows, size_t cols,
    uint32_t shift, const tp_ki_index_t *index) {
    index = tp_worth(index, cols, 3);
    for (size_t taken; rows > 0; rows -= taken, z += taken, w += taken * cols) {
        int64_t s[2];
        taken = rows >= 2u ? 2u : 1u;
        size_t next = taken == 2u ? cols : 0;
        if (index != NULL) {
            tp_two_at_i16(s, w, next, x, index);
        } else {
            tp_two_i16(s, w, next, x, cols);
        }
        for (size_t r = 0; r < taken; r++) {
            z[r] = (int32_t)(s[r] >> shift);
        }
    }
}

// --- w = w + ((g * x + noise) >> shift) ---

// The largest product with the largest noise fits 16 bits. Even columns and odd ones are lanes of
// their own, which share their noise.
static inline int8x16_t tp_steps_i8(int8x16_t x, int8x16_t g, int16x8_t noise, int32_t left) {
    int16x8_t even = vshlq_r_s16(vaddq_s16(vmullbq_int_s8(x, g), noise), left);
    int16x8_t odd = vshlq_r_s16(vaddq_s16(vmulltq_int_s8(x, g), noise), left);
    return vmovntq_s16(vmovnbq_s16(vuninitializedq_s8(), even), odd);
}

static void tp_update_i8(const tp_ki_row_t *row, const int8_t *x, size_t cols) {
    int8_t *w = row->w;
    uint32_t step = tp_ki_noise_step(row->shift);
    int32_t left = -(int32_t)row->shift;
    uint16x8_t mask = vdupq_n_u16((uint16_t)((1u << row->shift) - 1u));
    uint16x8_t noise = tp_noise_16(row->noise, step);
    int8x16_t g = vdupq_n_s8((int8_t)row->g);
    for (size_t n = cols / 16u; n > 0; n--, x += 16, w += 16) {
        int16x8_t now = vreinterpretq_s16_u16(vandq_u16(noise, mask));
        vstrbq_s8(w, vqaddq_s8(vldrbq_s8(w), tp_steps_i8(vldrbq_s8(x), g, now, left)));
        noise = vaddq_n_u16(noise, (uint16_t)(8u * step));
    }
    if (cols % 16u != 0) {
        mve_pred16_t p = vctp8q(cols % 16u);
        int16x8_t now = vreinterpretq_s16_u16(vandq_u16(noise, mask));
        int8x16_t steps = tp_steps_i8(vldrbq_z_s8(x, p), g, now, left);
        vstrbq_p_s8(w, vqaddq_s8(vldrbq_z_s8(w, p), steps), p);
    }
}

static void tp_update_at_i8(const tp_ki_row_t *row, const int8_t *x, const tp_ki_index_t *index) {
    int8_t *w = row->w;
    uint32_t step = tp_ki_noise_step(row->shift);
    int32_t left = -(int32_t)row->shift;
    uint16x8_t mask = vdupq_n_u16((uint16_t)((1u << row->shift) - 1u));
    uint16x8_t noise = vdupq_n_u16((uint16_t)row->noise);
    const uint16_t *columns = index->columns;
    for (int32_t n = (int32_t)index->total; n > 0; n -= 8, columns += 8) {
        mve_pred16_t p = vctp16q((uint32_t)n);
        uint16x8_t at = vldrhq_z_u16(columns, p);
        uint16x8_t now = vandq_u16(vmlaq_n_u16(noise, vshrq_n_u16(at, 1), (uint16_t)step), mask);
        int16x8_t t = vmlaq_n_s16(vreinterpretq_s16_u16(now), vldrbq_gather_offset_z_s16(x, at, p),
            (int16_t)row->g);
        t = vaddq_s16(vshlq_r_s16(t, left), vldrbq_gather_offset_z_s16(w, at, p));
        // The even bytes, which are stored.
        t = vreinterpretq_s16_s8(vqmovnbq_s16(vuninitializedq_s8(), t));
        vstrbq_scatter_offset_p_s16(w, at, t, p);
    }
}

void tp_ki_rows_update_i8(const tp_ki_row_t *rows, size_t n_rows, const int8_t *x, size_t cols,
    const tp_ki_index_t *index) {
    index = tp_worth(index, cols, 2);
    for (; n_rows > 0; n_rows--, rows++) {
        if (index != NULL) {
            tp_update_at_i8(rows, x, index);
        } else {
            tp_update_i8(rows, x, cols);
        }
    }
}

// Products take 31 bits; what is left of them after the shift 15.
static inline int16x8_t tp_steps_i16(int16x8_t x, int32_t g, int32x4_t noise) {
    int32x4_t even = vmlaq_n_s32(noise, vmovlbq_s16(x), g);
    int32x4_t odd = vmlaq_n_s32(noise, vmovltq_s16(x), g);
    return vshrntq_n_s32(vshrnbq_n_s32(vuninitializedq_s16(), even, 16), odd, 16);
}

static void tp_update_i16(const tp_ki_row_t *row, const int16_t *x, size_t cols) {
    int16_t *w = row->w;
    uint32_t step = tp_ki_noise_step(16);
    uint32x4_t mask = vdupq_n_u32(0xffffu), noise = tp_noise_32(row->noise, step);
    int32_t g = row->g;
    for (size_t n = cols / 8u; n > 0; n--, x += 8, w += 8) {
        int32x4_t now = vreinterpretq_s32_u32(vandq_u32(noise, mask));
        vstrhq_s16(w, vqaddq_s16(vldrhq_s16(w), tp_steps_i16(vldrhq_s16(x), g, now)));
        noise = vaddq_n_u32(noise, 4u * step);
    }
    if (cols % 8u != 0) {
        mve_pred16_t p = vctp16q(cols % 8u);
        int32x4_t now = vreinterpretq_s32_u32(vandq_u32(noise, mask));
        int16x8_t steps = tp_steps_i16(vldrhq_z_s16(x, p), g, now);
        vstrhq_p_s16(w, vqaddq_s16(vldrhq_z_s16(w, p), steps), p);
    }
}

static void tp_update_at_i16(const tp_ki_row_t *row, const int16_t *x,
    const tp_ki_index_t *index) {
    int16_t *w = row->w;
    uint32_t step = tp_ki_noise_step(16);
    uint32x4_t mask = vdupq_n_u32(0xffffu), noise = vdupq_n_u32(row->noise);
    const uint16_t *columns = index->columns;
    for (int32_t n = (int32_t)index->total; n > 0; n -= 4, columns += 4) {
        mve_pred16_t p = vctp32q((uint32_t)n);
        uint32x4_t at = vldrhq_z_u32(columns, p);
        uint32x4_t now = vandq_u32(vmlaq_n_u32(noise, vshrq_n_u32(at, 1), step), mask);
        int32x4_t t = vmlaq_n_s32(vreinterpretq_s32_u32(now),
            vldrhq_gather_shifted_offset_z_s32(x, at, p), row->g);
        t = vaddq_s32(vshrq_n_s32(t, 16), vldrhq_gather_shifted_offset_z_s32(w, at, p));
        t = vreinterpretq_s32_s16(vqmovnbq_s32(vuninitializedq_s16(), t));
        vstrhq_scatter_shifted_offset_p_s32(w, at, t, p);
    }
}

void tp_ki_rows_update_i16(const tp_ki_row_t *rows, size_t n_rows, const int16_t *x, size_t cols,
    const tp_ki_index_t *index) {
    index = tp_worth(index, cols, 3);
    for (; n_rows > 0; n_rows--, rows++) {
        if (index != NULL) {
            tp_update_at_i16(rows, x, index);
        } else {
            tp_update_i16(rows, x, cols);
        }
    }
}

// Four columns at a time: load and store widen and narrow.
#define TP_WIDE(its_load, its_store, x_load, least, most) \
    int32x4_t now = vreinterpretq_s32_u32(vandq_u32(noise, mask)); \
    int32x4_t t = vshlq_r_s32(vmlaq_n_s32(now, x_load, row->g), left); \
    t = vminq_s32(vmaxq_s32(vaddq_s32(t, its_load), vdupq_n_s32(least)), vdupq_n_s32(most)); \
    its_store
#define TP_UPDATE_WIDE(name, type, load, store, least, most) \
    void tp_ki_row_update_wide_##name(const tp_ki_row_t *row, const int16_t *x, size_t cols) { \
        type *w = row->w; \
        uint32_t step = tp_ki_noise_step(row->shift); \
        int32_t left = -(int32_t)row->shift; \
        uint32x4_t mask = vdupq_n_u32((1u << row->shift) - 1u); \
        uint32x4_t noise = \
            vmlaq_n_u32(vdupq_n_u32(row->noise), vshrq_n_u32(vidupq_n_u32(0, 1), 1), step); \
        for (size_t n = cols / 4u; n > 0; n--, x += 4, w += 4) { \
            TP_WIDE(load##q_s32(w), store##q_s32(w, t), vldrhq_s32(x), least, most); \
            noise = vaddq_n_u32(noise, 2u * step); \
        } \
        if (cols % 4u != 0) { \
            mve_pred16_t p = vctp32q(cols % 4u); \
            TP_WIDE(load##q_z_s32(w, p), store##q_p_s32(w, t, p), vldrhq_z_s32(x, p), least, \
                most); \
        } \
    }
TP_UPDATE_WIDE(i8, int8_t, vldrb, vstrb, INT8_MIN, INT8_MAX)
TP_UPDATE_WIDE(i16, int16_t, vldrh, vstrh, INT16_MIN, INT16_MAX)

// --- dx = dx + g * w, of i16 >> 8 ---

#define TP_TERM_i8(sum, w, g) vmlaq_n_s32(sum, w, g)
#define TP_TERM_i16(sum, w, g) vaddq_s32(sum, vshrq_n_s32(vmulq_n_s32(w, g), 8))
#define TP_TERMS(name, sum, load, ...) \
    sum = TP_TERM_##name(sum, load(w0, ##__VA_ARGS__), g0); \
    sum = TP_TERM_##name(sum, load(w1, ##__VA_ARGS__), g1); \
    sum = TP_TERM_##name(sum, load(w2, ##__VA_ARGS__), g2); \
    sum = TP_TERM_##name(sum, load(w3, ##__VA_ARGS__), g3)

// Of four columns at a time, and four rows; a row that is not there counts with g = 0.
#define TP_DX(name, type, load, gather) \
    static inline void tp_four_dx_##name(int32_t *dx, const tp_ki_row_t *rows, size_t n_rows, \
        size_t cols, const tp_ki_index_t *index) { \
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
        if (index != NULL) { \
            const uint16_t *columns = index->columns; \
            for (int32_t n = (int32_t)index->total; n > 0; n -= 4, columns += 4) { \
                mve_pred16_t p = vctp32q((uint32_t)n); \
                uint32x4_t at = vldrhq_z_u32(columns, p); \
                int32x4_t sum = vldrwq_gather_shifted_offset_z_s32(dx, at, p); \
                TP_TERMS(name, sum, gather, at, p); \
                vstrwq_scatter_shifted_offset_p_s32(dx, at, sum, p); \
            } \
            return; \
        } \
        for (size_t n = cols / 4u; n > 0; n--) { \
            int32x4_t sum = vldrwq_s32(dx); \
            TP_TERMS(name, sum, load##q_s32); \
            vstrwq_s32(dx, sum); \
            dx += 4, w0 += 4, w1 += 4, w2 += 4, w3 += 4; \
        } \
        if (cols % 4u != 0) { \
            mve_pred16_t p = vctp32q(cols % 4u); \
            int32x4_t sum = vldrwq_z_s32(dx, p); \
            TP_TERMS(name, sum, load##q_z_s32, p); \
            vstrwq_p_s32(dx, sum, p); \
        } \
    } \
    void tp_ki_rows_dx_##name(int32_t *dx, const tp_ki_row_t *rows, size_t n_rows, size_t cols, \
        const tp_ki_index_t *index) { \
        for (size_t o = 0; o < n_rows; o += 4u) { \
            tp_four_dx_##name(dx, rows + o, n_rows - o, cols, index); \
        } \
    }
TP_DX(i8, int8_t, vldrb, vldrbq_gather_offset_z_s32)
TP_DX(i16, int16_t, vldrh, vldrhq_gather_shifted_offset_z_s32)

#endif
