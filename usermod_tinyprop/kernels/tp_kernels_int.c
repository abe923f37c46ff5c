// The integer kernels for any core. Four rows share what they read of x and dx.
#include "tp_kernels_int.h"

#include <string.h>

#ifdef __ARM_FEATURE_SAT
#include <arm_acle.h>
#endif

#if TP_INTEGER

// Four bytes at an address that is a multiple of 4, whatever they are.
typedef uint32_t __attribute__((may_alias)) tp_word_t;

static inline bool tp_is_aligned(const void *p) {
    return ((uintptr_t)p & 3u) == 0;
}

#if !TP_KERNELS_ARMV6M

#define TP_EVEN_BYTES 0x00ff00ffu

static uint32_t tp_largest_byte(uint32_t four) {
    uint32_t most = 0;
    for (; four != 0; four >>= 8) {
        most = (four & 255u) > most ? four & 255u : most;
    }
    return most;
}

// Four bytes of which the largest is that of all so far.
static inline uint32_t tp_larger_bytes(uint32_t most, uint32_t four) {
#ifdef __ARM_FEATURE_SIMD32
    return __uadd8(most, __uqsub8(four, most));
#else
    uint32_t above = (255u - most) * 0x00010001u;
    uint32_t found = ((four & TP_EVEN_BYTES) + above) | ((four >> 8 & TP_EVEN_BYTES) + above);
    if ((found & ~TP_EVEN_BYTES) == 0) {
        return most;
    }
    four = tp_largest_byte(four);
    return four > most ? four : most;
#endif
}

// The upper byte of each half; the lower and the upper halves of two words.
#ifdef __ARM_FEATURE_SIMD32
static inline uint32_t tp_odd_bytes(uint32_t four) {
    uint32_t odd;
    __asm("uxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(four));
    return odd;
}

static inline uint32_t tp_lower_halves(uint32_t a, uint32_t b) {
    __asm("pkhbt %0, %0, %1, lsl #16" : "+r"(a) : "r"(b));
    return a;
}

static inline uint32_t tp_upper_halves(uint32_t a, uint32_t b) {
    __asm("pkhtb %0, %0, %1, asr #16" : "+r"(b) : "r"(a));
    return b;
}
#else
static inline uint32_t tp_odd_bytes(uint32_t four) {
    return four >> 8 & TP_EVEN_BYTES;
}

static inline uint32_t tp_lower_halves(uint32_t a, uint32_t b) {
    return (a & 65535u) | b << 16;
}

static inline uint32_t tp_upper_halves(uint32_t a, uint32_t b) {
    return a >> 16 | (b & 0xffff0000u);
}
#endif

typedef struct {
    uint32_t factor, half, shift, left, right, round;
} tp_pixels_t;

// Two pixels a word; where the factor is a power of two (`plain`), so is all that is done to them. `whole`:
// it has no fraction, nothing is to be rounded.
static inline uint32_t tp_pixels(tp_word_t *to, bool wide, bool plain, bool whole,
    const tp_word_t *q, size_t fours, const tp_pixels_t *by) {
    uint32_t factor = by->factor, half = by->half, shift = by->shift, most = 0;
    uint32_t left = by->left, right = by->right, round = by->round;
    uint32_t lanes = wide ? (65535u >> right) * 0x00010001u : TP_EVEN_BYTES;
#ifdef __ARM_FEATURE_SIMD32
    if (plain && !wide && right > 0) {
        round += round << 8;
        lanes = (511u >> right) * 0x01010101u;
    }
#endif
#pragma GCC unroll 4
    for (const tp_word_t *end = q + fours; q < end;) {
        uint32_t four = *q++, even = four & TP_EVEN_BYTES, odd = tp_odd_bytes(four);
        most = tp_larger_bytes(most, four);
#ifdef __ARM_FEATURE_SIMD32
        if (plain && !wide && right > 0) {
            *to++ = __uhadd8(four, round) >> (right - 1u) & lanes;
            continue;
        }
#endif
        if (whole) {
            even <<= left;
            odd <<= left;
        } else if (plain) {
            even = ((even << left) + round) >> right & lanes;
            odd = ((odd << left) + round) >> right & lanes;
        } else {
            uint32_t a = ((four & 255u) * factor + half) >> shift;
            uint32_t b = ((four >> 8 & 255u) * factor + half) >> shift;
            uint32_t c = ((four >> 16 & 255u) * factor + half) >> shift;
            uint32_t d = ((four >> 24) * factor + half) >> shift;
            even = (a & 65535u) | c << 16;
            odd = (b & 65535u) | d << 16;
        }
        if (wide) {
            *to++ = tp_lower_halves(even, odd);
            *to++ = tp_upper_halves(even, odd);
        } else {
            *to++ = (even & TP_EVEN_BYTES) | (odd & TP_EVEN_BYTES) << 8;
        }
    }
    return tp_largest_byte(most);
}

uint32_t tp_ki_pixels(void *out, bool wide, const void *x, size_t fours, const tp_ki_scale_t *by,
    uint16_t **columns) {
    tp_pixels_t p = {(uint32_t)by->factor, (uint32_t)by->half, (uint32_t)by->shift, 0, 0, 0};
    uint32_t bit = 0, most;
    for (; p.factor >> bit > 1u; bit++) {
    }
    p.right = p.shift > bit ? p.shift - bit : 0;
    p.left = bit > p.shift ? bit - p.shift : 0;
    p.round = p.right > 0 ? 0x00010001u << (p.right - 1u) : 0;
    if (p.factor >> bit << bit != p.factor || p.left > 8u || p.right > 8u) {
        most = wide ? tp_pixels(out, true, false, false, x, fours, &p)
                    : tp_pixels(out, false, false, false, x, fours, &p);
    } else if (wide) {
        most = p.right == 0 ? tp_pixels(out, true, true, true, x, fours, &p)
                            : tp_pixels(out, true, true, false, x, fours, &p);
    } else {
        most = tp_pixels(out, false, true, false, x, fours, &p);
    }
    if (columns != NULL) {
        *columns += wide ? tp_ki_index_i16(*columns, out, 4u * fours)
                         : tp_ki_index_i8(*columns, out, 4u * fours);
    }
    return (most * p.factor + p.half) >> p.shift;
}

#endif

uint32_t tp_ki_scale(void *out, bool wide, const void *x, uint8_t dtype, size_t n,
    const tp_ki_scale_t *by, uint16_t **columns) {
    size_t done = 0;
    int32_t last = INT32_MIN, v = 0, most = 0, least = 0;
    if (dtype == 'B' && by->offset == 0 && by->factor > 0 && tp_is_aligned(x) &&
        tp_is_aligned(out)) {
        done = n & ~(size_t)3u;
        most = (int32_t)tp_ki_pixels(out, wide, x, done / 4u, by, columns);
    }
    for (size_t i = done; i < n; i++) {
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
        if (columns != NULL && v != 0) {
            *(*columns)++ = (uint16_t)i;
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

#if !TP_KERNELS_ARMV6M && !TP_KERNELS_DSP

// 0 where no value of a word is.
static inline uint32_t tp_zeros(uint32_t word, uint32_t ones) {
#ifdef __ARM_FEATURE_SIMD32
    return ones == 0x00010001u ? __uqsub16(ones, word) : __uqsub8(ones, word);
#else
    return (word - ones) & ~word & ones << (ones == 0x00010001u ? 15u : 7u);
#endif
}

// Zeros lie together, whole words of them; and so does what is not zero. Four values at a time.
#define TP_KI_INDEX(name, type, ones) \
    uint32_t tp_ki_index_##name(uint16_t *columns, const type *x, size_t n) { \
        uint16_t *to = columns; \
        uint32_t i = 0, fours = tp_is_aligned(x) ? n & ~(size_t)3u : 0; \
        while (i < n) { \
            const tp_word_t *word = (const void *)(x + i), *stop = (const void *)(x + fours); \
            uint32_t pair = i * 0x00010001u + 0x00010000u; \
            for (; word < stop && \
                (tp_zeros(word[0], ones) | tp_zeros(word[sizeof(type) - 1u], ones)) == 0; \
                word += sizeof(type), to += 4) { \
                uint32_t next = pair + 0x00020002u; \
                memcpy(to, &pair, sizeof(pair)); \
                memcpy(to + 2, &next, sizeof(next)); \
                pair += 0x00040004u; \
            } \
            i = pair & 65535u; \
            uint32_t end = n - i < 4u ? n : i + 4u; \
            if (i < fours && (word[0] | word[sizeof(type) - 1u]) == 0) { \
                i = end; \
            } \
            for (; i < end; i++) { \
                *to = (uint16_t)i; \
                to += x[i] != 0; \
            } \
        } \
        return (uint32_t)(to - columns); \
    }

TP_KI_INDEX(i8, int8_t, 0x01010101u)
TP_KI_INDEX(i16, int16_t, 0x00010001u)

#endif

#if !TP_KERNELS_ARMV6M && !TP_KERNELS_DSP && !TP_KERNELS_MVE && !TP_KERNELS_SSE2_INT

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
#if TP_KERNELS_ARMV7M
        if (taken == 4u && columns == NULL) {
            tp_ki_four_dots_i8(z, w, x, cols);
            continue;
        }
#endif
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
#if TP_KERNELS_ARMV7M
        if (taken == 4u && columns == NULL) {
            tp_ki_four_dots_i16(z, w, x, cols, shift);
            continue;
        }
#endif
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

// What outputs of so many bytes are limited to, but for the last ones.
#define TP_LIMIT(bytes) ((bytes) == 1u ? 127 : 1023)

static inline int32_t tp_to_limit(int32_t v, size_t bytes) {
#ifdef __ARM_FEATURE_SAT
    return bytes == 1u ? (int32_t)__usat(v, 7) : (int32_t)__usat(v, 10);
#else
    return v < TP_LIMIT(bytes) ? v : TP_LIMIT(bytes);
#endif
}

// `usual`: ReLU, to fewer bits and that limit; then `left` says which way biases are shifted.
static inline size_t tp_finish(void *out, size_t bytes, const int32_t *z, const int32_t *b,
    size_t n, const tp_ki_finish_t *by, uint32_t *most, bool usual, bool left) {
    bool right = !usual || !left;
    left = left || !usual;
    int32_t up = left && by->up > 0 ? by->up : 0;
    int32_t down_b = right && by->up < 0 ? -by->up : 0, half_b = (1 << down_b) >> 1;
    int32_t down = by->down > 0 ? by->down : 0, half = by->down > 0 ? 1 << (by->down - 1) : 0;
    int32_t again = by->down < 0 ? -by->down : 0;
    int32_t limit = by->limit, peak = (int32_t)*most, least = usual || by->relu ? 0 : INT32_MIN;
    uint32_t room = (uint32_t)1 << (28 - up), room_z = (uint32_t)1 << 28;
    const int32_t *from = z;
    for (const int32_t *end = z + n; z < end; z++, b++) {
        int32_t v = *z, bias = *b;
        if ((uint32_t)v + room_z > 2u * room_z || (uint32_t)bias + room > 2u * room) {
            break;
        }
        v += (int32_t)((uint32_t)((bias + half_b) >> down_b) << up);
        v = v > least ? v : least;
        int32_t size = !usual && v < 0 ? -v : v;
        peak = size > peak ? size : peak;
        v = (v + half) >> down;
        v = usual ? tp_to_limit(v, bytes) : tp_ki_clip(v, limit);
        if (!usual && again > 0) {
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

size_t tp_ki_finish(void *out, size_t bytes, const int32_t *z, const int32_t *b, size_t n,
    const tp_ki_finish_t *by, uint32_t *most) {
    bool left = by->up > 0;
    if (bytes == 4u || !by->relu || by->down < 0 || by->limit != TP_LIMIT(bytes)) {
        return tp_finish(out, bytes, z, b, n, by, most, false, false);
    }
    if (bytes == 1u) {
        return left ? tp_finish(out, 1, z, b, n, by, most, true, true)
                    : tp_finish(out, 1, z, b, n, by, most, true, false);
    }
    return left ? tp_finish(out, 2, z, b, n, by, most, true, true)
                : tp_finish(out, 2, z, b, n, by, most, true, false);
}

#endif

#ifdef __ARM_FEATURE_SAT
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

#if !TP_KERNELS_MVE && !TP_KERNELS_SSE2_INT

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

#if !TP_KERNELS_ARMV6M && !TP_KERNELS_DSP && !TP_KERNELS_MVE && !TP_KERNELS_SSE2_INT

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

// How many lanes of so few words that they fit a byte. One is large where its sign bit becomes 1: of
// a positive one when an eighth is added, of a negative one when it stays 0 with all but an eighth.
static __attribute__((noinline)) uint32_t tp_large(const tp_word_t *w, size_t words, uint32_t ones,
    uint32_t bits) {
    uint32_t signs = ones << (bits - 1u), eighth = ones << (bits - 4u);
    uint32_t most = eighth * 7u - ones, sums = 0;
    for (const tp_word_t *end = w + words; w != end; w++) {
        uint32_t v = *w, size = v & ~signs;
        size = ((size + eighth) & ~v) | (v & ~(size + most));
        sums += (size & signs) >> (bits - 1u);
    }
    sums = (sums & 0x00ff00ffu) + (sums >> 8 & 0x00ff00ffu);
    return (sums + (sums >> 16)) & 0xffffu;
}

size_t tp_ki_count_large(const void *w, size_t n, bool wide) {
    uint32_t ones = wide ? 0x00010001u : 0x01010101u, bits = wide ? 16u : 8u;
    size_t large = 0, bytes = wide ? 2u * n : n, words = bytes / 4u;
    const tp_word_t *p = w;
    for (size_t some; words > 0; words -= some, p += some) {
        some = wide ? 8u : 248u;
        if (words < some) {
            some = words;
        } else if (wide) { // few are large: a word at a time, which counts a neighbour's carry
            uint32_t found = 0;
#pragma GCC unroll 8
            for (size_t i = 0; i < 8u; i++) {
                found |= (p[i] + 0x10001000u) & ~(p[i] - 0x10011001u);
            }
            if ((found & 0x80008000u) == 0) {
                continue;
            }
        }
        large += tp_large(p, some, ones, bits);
    }
    tp_word_t rest = 0;
    memcpy(&rest, p, bytes & 3u);
    return large + tp_large(&rest, 1, ones, bits);
}

uint32_t tp_ki_sum_abs(const int32_t *d, size_t n) {
    uint32_t sum = 0;
    for (; (n & 3u) != 0; n--, d++) {
        sum += (uint32_t)(*d < 0 ? -*d : *d);
    }
    for (const int32_t *end = d + n; d != end; d += 4) {
        sum += (uint32_t)(d[0] < 0 ? -d[0] : d[0]) + (uint32_t)(d[1] < 0 ? -d[1] : d[1]);
        sum += (uint32_t)(d[2] < 0 ? -d[2] : d[2]) + (uint32_t)(d[3] < 0 ? -d[3] : d[3]);
    }
    return sum;
}

#define TP_KI_RELU_D(name, type) \
    uint32_t tp_ki_relu_d_##name(int32_t *d, const type *a, size_t n) { \
        uint32_t bits = 0; \
        for (size_t i = 0; i < n; i++) { \
            uint32_t v = a[i] > 0 ? (uint32_t)d[i] : 0; \
            bits |= (v >> 31) != 0 ? 0u - v : v; \
            d[i] = (int32_t)v; \
        } \
        return bits; \
    }

TP_KI_RELU_D(i8, int8_t)
TP_KI_RELU_D(i16, int16_t)

void tp_ki_narrow(int32_t *d, size_t n, uint32_t shift) {
    for (int32_t *end = d + n; d != end; d++) {
        int32_t v = ((*d >> (shift - 1u)) + 1) >> 1;
        *d = v > 32767 ? 32767 : v < -32767 ? -32767 : v;
    }
}

#define TP_KI_CHANNELS(name, type) \
    void tp_ki_channels_##name(int32_t *restrict z, const type *w, size_t taps, const type *x, \
        size_t n) { \
        for (int32_t *end = z + n; z < end; z++, w += taps, x++) { \
            *z += *w * *x; \
        } \
    }

TP_KI_CHANNELS(i8, int8_t)
TP_KI_CHANNELS(i16, int16_t)

#if !TP_KERNELS_SSE2_INT

#define TP_KI_AXPY(name, type) \
    void tp_ki_axpy_##name(int32_t *sum, int32_t d, const type *x, size_t n) { \
        for (size_t i = 0; i < n; i++) { \
            sum[i] += d * x[i]; \
        } \
    }

TP_KI_AXPY(i8, int8_t)
TP_KI_AXPY(i16, int16_t)

#endif

#if !TP_KERNELS_ARMV6M && !TP_KERNELS_MVE && !TP_KERNELS_SSE2_INT

// From which column on plain loops go.
#if TP_KERNELS_DSP
#define FROM(name) tp_ki_dense_dx_##name(dx, rows + o, n_rows - o, cols)
#else
#define FROM(name) 0
#endif

// A row that is not there counts with g = 0.
#define TP_KI_DX(name, type, dx_shift) \
    static inline void tp_ki_four_dx_##name(int32_t *restrict dx, const tp_ki_row_t *rows, \
        size_t n_rows, size_t from, size_t n, const uint16_t *columns) { \
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
        for (size_t j = from; j < n; j++) { \
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
                tp_ki_four_dx_##name(dx, rows + o, n_rows - o, 0, index->total, index->columns); \
            } else { \
                size_t from = FROM(name); \
                tp_ki_four_dx_##name(dx, rows + o, n_rows - o, from, cols, NULL); \
            } \
        } \
    }

TP_KI_DX(i8, int8_t, 0)
TP_KI_DX(i16, int16_t, 8)

#endif

#endif
