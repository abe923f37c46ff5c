// Sums and updates for cores that multiply and saturate, but have no DSP instructions (Cortex-M3): int8
// weights take their steps four at a time as one number. Equal to tp_kernels_int.c bit for bit.
#include "tp_kernels_int.h"

#if TP_KERNELS_ARMV7M

#include <arm_acle.h>
#include <string.h>

// Columns whose inputs are unpacked at a time, on the stack.
#define TP_BLOCK 1024u

// The assembler keeps its lines.
// clang-format off

// A column of four rows that begin `row` bytes after each other.
#define COLUMN(load, size) \
    load " %[t], [%[x]], #" size "\n" \
    load " %[u], [%[w], %[row]]\n" \
    "mla %[s1], %[u], %[t], %[s1]\n" \
    load " %[u], [%[w], %[row], lsl #1]\n" \
    "mla %[s2], %[u], %[t], %[s2]\n" \
    load " %[u], [%[w], %[three]]\n" \
    "mla %[s3], %[u], %[t], %[s3]\n" \
    load " %[u], [%[w]], #" size "\n" \
    "mla %[s0], %[u], %[t], %[s0]\n"
#define FOUR_COLUMNS(load, size) \
    COLUMN(load, size) COLUMN(load, size) COLUMN(load, size) COLUMN(load, size)
#define COLUMNS(load, size, times, n) \
    if ((n) != 0) { \
        size_t left = (n); \
        __asm volatile( \
            "1:\n" \
            times \
            "subs %[left], #1\n" \
            "bne 1b\n" \
            : [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2), [s3] "+r"(s3), [w] "+r"(w), \
              [x] "+r"(x), [left] "+r"(left), [t] "=&r"(t), [u] "=&r"(u) \
            : [row] "r"(row), [three] "r"(3u * row) \
            : "cc", "memory"); \
    }
#define EIGHT_COLUMNS(load, size) FOUR_COLUMNS(load, size) FOUR_COLUMNS(load, size)

void tp_ki_four_dots_i8(int32_t z[4], const int8_t *w, const int8_t *x, size_t cols) {
    size_t row = cols;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    uint32_t t, u;
    COLUMNS("ldrsb", "1", EIGHT_COLUMNS("ldrsb", "1"), cols / 8u)
    COLUMNS("ldrsb", "1", COLUMN("ldrsb", "1"), cols & 7u)
    z[0] = s0, z[1] = s1, z[2] = s2, z[3] = s3;
}

// 64 terms and 16 bits fit 32 bits; what is above 16 bits goes to `high`.
void tp_ki_four_dots_i16(int32_t z[4], const int16_t *w, const int16_t *x, size_t cols,
    uint32_t shift) {
    size_t row = 2u * cols;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, high[4] = {0, 0, 0, 0};
    uint32_t t, u;
    for (size_t n = cols; n > 0;) {
        size_t some = n < 64u ? n : 64u;
        COLUMNS("ldrsh", "2", EIGHT_COLUMNS("ldrsh", "2"), some / 8u)
        COLUMNS("ldrsh", "2", COLUMN("ldrsh", "2"), some & 7u)
        n -= some;
        high[0] += s0 >> 16, s0 &= 65535;
        high[1] += s1 >> 16, s1 &= 65535;
        high[2] += s2 >> 16, s2 &= 65535;
        high[3] += s3 >> 16, s3 &= 65535;
    }
    z[0] = (int32_t)(((int64_t)high[0] * 65536 + s0) >> shift);
    z[1] = (int32_t)(((int64_t)high[1] * 65536 + s1) >> shift);
    z[2] = (int32_t)(((int64_t)high[2] * 65536 + s2) >> shift);
    z[3] = (int32_t)(((int64_t)high[3] * 65536 + s3) >> shift);
}

// clang-format on

// A row, or what is left of it where a weight of the next word has to be clipped.
typedef struct {
    int8_t *w;
    const uint32_t *x;
    uint32_t noise;
    int32_t g;
    uint32_t step, shift, fields, lanes, bias;
    int8_t *end;
} tp_update_t;

// The assembler keeps its lines.
// clang-format off

// Four weights: x as lanes of 16 bits, columns 0 and 2, then 1 and 3, which share their noise. r10 is
// the new word, r11 the old one. Where no sign changed, no weight passed zero (with a carry into its
// neighbour) or an end.
#define UPDATE \
    "ldrd r10, r11, [r1], #8\n" \
    "mla r10, r3, r10, r2\n" \
    "mla r12, r3, r11, r2\n" \
    "adds r2, r4\n" \
    "ldr r11, [r0]\n" \
    "ands r2, r7\n" \
    "lsr r10, r10, r5\n" \
    "lsr r12, r12, r5\n" \
    "and r10, r6\n" \
    "and r12, r6\n" \
    "add r10, r10, r12, lsl #8\n" \
    "add r10, r10, r11\n" \
    "sub r10, r10, r8\n" \
    "eor r12, r10, r11\n" \
    "tst r12, #0x80808080\n" \
    "bne 3f\n" \
    "2:\n" \
    "str r10, [r0], #4\n"
// Of weights that count from -128 zero is nothing special; and as no step is longer than a quarter
// of the range, one whose sign changed passed an end if its upper bits differ.
#define CLOSER \
    "3:\n" \
    "sub r10, r10, r11\n" \
    "eor r11, r11, #0x80808080\n" \
    "add r10, r10, r11\n" \
    "eor r12, r10, r11\n" \
    "eor r10, r10, #0x80808080\n" \
    "eor r11, r10, r10, lsl #1\n" \
    "and r12, r11\n" \
    "tst r12, #0x80808080\n" \
    "beq 2b\n" \
    "b 4f\n"

// noipa: the compiler sees nothing of what it does.
__attribute__((naked, noipa)) static void tp_update(tp_update_t *q __attribute__((unused))) {
    __asm volatile(
        "push {r0, r4-r11, lr}\n"
        "ldr lr, [r0, #36]\n"
        "ldm r0, {r0-r8}\n"
        // r6 the fields of the results, r7 of the noise, r8 the bias
        "1:\n"
        UPDATE
        "cmp r0, lr\n"
        "bne 1b\n"
        "b 4f\n"
        CLOSER
        "4:\n"
        "ldr r10, [sp]\n"
        "stm r10, {r0-r2}\n"
        "pop {r0, r4-r11, pc}\n");
}

// A row of int16; its inputs are words.
typedef struct {
    int16_t *w;
    const int32_t *x;
    uint32_t noise;
    int32_t g;
    uint32_t step;
    const int32_t *end; // of x
    void (*clip)(void);
} tp_row_i16_t;

// Two weights of a word, each above its noise (the lower half of r2), plus their products: the upper
// halves are the new weights.
#define TWO_I16(w, x0, x1) \
    "bfi r2, " w ", #16, #16\n" \
    "bfi " w ", r2, #0, #16\n" \
    "mla " x0 ", r3, " x0 ", r2\n" \
    "mla " w ", r3, " x1 ", " w "\n" \
    "add r2, r4\n" \
    "lsr " x0 ", " x0 ", #16\n" \
    "bfi " w ", " x0 ", #0, #16\n"
// No step is longer than a quarter of the range: a weight that passed an end is in an outer quarter now.
#define OUTER(to, w) "eor " to ", " w ", " w ", lsl #1\n"
#define UPDATE_I16(cold, back) \
    "ldm r1!, {r9-r12}\n" \
    TWO_I16("r5", "r9", "r10") TWO_I16("r6", "r11", "r12") \
    "ldm r1!, {r9-r12}\n" \
    TWO_I16("r7", "r9", "r10") TWO_I16("r8", "r11", "r12") \
    OUTER("r9", "r5") OUTER("r10", "r6") OUTER("r11", "r7") OUTER("r12", "r8") \
    "orr r9, r10\n" \
    "orr r11, r12\n" \
    "orr r9, r11\n" \
    "tst r9, #0x80008000\n" \
    "bne " cold "f\n" \
    back ":\n"
#define CLIP_I16(cold, back) \
    cold ":\n" \
    "ldr r9, [sp]\n" \
    "ldr r9, [r9, #24]\n" \
    "blx r9\n" \
    "ldr lr, [sp]\n" \
    "ldr lr, [lr, #20]\n" \
    "b " back "b\n"

// Of new weights in an outer quarter those whose sign changed become the end that they passed: 0x7fff,
// or 0x8000 where the old one was below 0.
#define CLIP(at, w) \
    "ldr r9, [r0, #" at "]\n" \
    OUTER("r10", w) \
    "eor r11, r9, " w "\n" \
    "and r10, r11\n" \
    "ands r10, #0x80008000\n" \
    "beq 1f\n" \
    "lsr r10, #15\n" \
    "rsb r10, r10, r10, lsl #16\n" \
    "lsr r9, #15\n" \
    "and r9, #0x00010001\n" \
    "add r9, #0x80008000\n" \
    "sub r9, #0x00010001\n" \
    "eor r9, " w "\n" \
    "and r9, r10\n" \
    "eor " w ", r9\n" \
    "1:\n"
__attribute__((naked, noipa)) static void tp_clip_i16(void) {
    __asm volatile(CLIP("0", "r5") CLIP("4", "r6") CLIP("8", "r7") CLIP("12", "r8") "bx lr\n");
}

// Sixteens of columns, at least one.
#define TP_UPDATE_I16(name, load, store) \
    __attribute__((naked, noipa)) static void name( \
        const tp_row_i16_t *q __attribute__((unused))) { \
        __asm volatile( \
            "push {r0, r4-r11, lr}\n" \
            "ldr lr, [r0, #20]\n" \
            "ldm r0, {r0-r4}\n" \
            "1:\n" \
            load UPDATE_I16("4", "2") store \
            load UPDATE_I16("5", "3") store \
            "cmp r1, lr\n" \
            "bne 1b\n" \
            "pop {r0, r4-r11, pc}\n" \
            CLIP_I16("4", "2") CLIP_I16("5", "3")); \
    }
TP_UPDATE_I16(tp_update_i16, "ldm r0, {r5-r8}\n", "stm r0!, {r5-r8}\n")
TP_UPDATE_I16(tp_update_anywhere_i16,
    "ldr r5, [r0]\n" "ldr r6, [r0, #4]\n" "ldr r7, [r0, #8]\n" "ldr r8, [r0, #12]\n",
    "str r5, [r0], #4\n" "str r6, [r0], #4\n" "str r7, [r0], #4\n" "str r8, [r0], #4\n")

// clang-format on

static void tp_some(const tp_ki_row_t *row, const int8_t *x, size_t from, size_t to) {
    int8_t *w = row->w;
    for (size_t i = from; i < to; i++) {
        int32_t noise = (int32_t)tp_ki_noise(row->noise, row->shift, i);
        w[i] = (int8_t)__ssat(w[i] + ((row->g * x[i] + noise) >> row->shift), 8);
    }
}

void tp_ki_dense_update_i8(const tp_ki_row_t *rows, size_t n_rows, const int8_t *x, size_t cols) {
    uint32_t pairs[TP_BLOCK / 2u];
    for (size_t from = 0; from < cols; from += TP_BLOCK) {
        size_t n = cols - from < TP_BLOCK ? cols - from : TP_BLOCK, whole = n & ~(size_t)3u;
        const int8_t *v = x + from;
        for (size_t i = 0; i < whole / 2u; i += 2u, v += 4) {
            pairs[i] = (uint32_t)v[2] * 65536u + (uint32_t)v[0];
            pairs[i + 1u] = (uint32_t)v[3] * 65536u + (uint32_t)v[1];
        }
        for (size_t o = 0; o < n_rows; o++) {
            const tp_ki_row_t *row = &rows[o];
            uint32_t shift = row->shift, mask = (1u << shift) - 1u, bias = 1u << (15u - shift);
            int8_t *w = row->w;
            // The bias keeps the lanes from becoming negative.
            tp_update_t q = {.w = w + from,
                .x = pairs,
                .noise = (tp_ki_noise(row->noise, shift, from) |
                             tp_ki_noise(row->noise, shift, from + 2u) << 16) +
                    0x80008000u,
                .g = row->g,
                .step = (2u * tp_ki_noise_step(shift) & mask) * 0x10001u,
                .shift = shift,
                .fields = (2u * bias - 1u) * 0x10001u,
                .lanes = (mask + 0x8000u) * 0x10001u,
                .bias = bias * 0x01010101u,
                .end = w + from + whole};
            while (q.w != q.end) {
                tp_update(&q);
                if (q.w != q.end) {
                    size_t at = (size_t)(q.w - w);
                    tp_some(row, x, at, at + 4u);
                    q.w += 4;
                }
            }
            tp_some(row, x, from + whole, from + n);
        }
    }
}

void tp_ki_dense_update_i16(const tp_ki_row_t *rows, size_t n_rows, const int16_t *x,
    size_t cols) {
    int32_t words[TP_BLOCK / 2u];
    for (size_t from = 0; from < cols; from += TP_BLOCK / 2u) {
        size_t n = cols - from < TP_BLOCK / 2u ? cols - from : TP_BLOCK / 2u;
        size_t whole = n & ~(size_t)15u;
        for (size_t i = 0; i < whole; i += 2u) {
            int32_t v;
            memcpy(&v, x + from + i, sizeof(v));
            words[i] = (int16_t)v;
            words[i + 1u] = v >> 16;
        }
        for (size_t o = 0; o < n_rows; o++) {
            const tp_ki_row_t *row = &rows[o];
            int16_t *w = (int16_t *)row->w + from;
            tp_row_i16_t q = {.w = w,
                .x = words,
                .noise = tp_ki_noise(row->noise, 16, from),
                .g = row->g,
                .step = tp_ki_noise_step(16),
                .end = words + whole,
                .clip = tp_clip_i16};
            if (whole > 0) {
                ((uintptr_t)w & 3u ? tp_update_anywhere_i16 : tp_update_i16)(&q);
            }
            for (size_t i = whole; i < n; i++) {
                int32_t noise = (int32_t)tp_ki_noise(row->noise, 16, from + i);
                w[i] = (int16_t)__ssat(w[i] + ((row->g * x[from + i] + noise) >> 16), 16);
            }
        }
    }
}

#endif
