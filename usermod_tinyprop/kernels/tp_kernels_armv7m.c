// The updates for cores that multiply and saturate, but have no DSP instructions (Cortex-M3): of int8
// weights four at a time as one number. Equal to tp_kernels_int.c bit for bit.
#include "tp_kernels_int.h"

#if TP_KERNELS_ARMV7M

#include <arm_acle.h>
#include <string.h>

// Columns whose inputs are unpacked at a time, on the stack.
#define TP_BLOCK 1024u

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
} tp_row_i16_t;

// Four weights. Clipping each costs less than it seems: looking for what has to be clipped takes as
// long, and here no weight is slower than another.
#define UPDATE_I16(store) \
    "ldm r1!, {r8-r11}\n" \
    "ldrsh r6, [r0]\n" \
    "ldrsh r7, [r0, #2]\n" \
    "ldrsh r12, [r0, #4]\n" \
    "ldrsh lr, [r0, #6]\n" \
    "mla r8, r3, r8, r2\n" \
    "mla r9, r3, r9, r2\n" \
    "add r2, r4\n" \
    "uxth r2, r2\n" \
    "mla r10, r3, r10, r2\n" \
    "mla r11, r3, r11, r2\n" \
    "add r2, r4\n" \
    "uxth r2, r2\n" \
    "add r6, r6, r8, asr #16\n" \
    "add r7, r7, r9, asr #16\n" \
    "add r12, r12, r10, asr #16\n" \
    "add lr, lr, r11, asr #16\n" \
    "ssat r6, #16, r6\n" \
    "ssat r7, #16, r7\n" \
    "ssat r12, #16, r12\n" \
    "ssat lr, #16, lr\n" \
    "bfi r6, r7, #16, #16\n" \
    "bfi r12, lr, #16, #16\n" \
    store

// Eights of columns, at least one.
#define TP_UPDATE_I16(name, store) \
    __attribute__((naked, noipa)) static void name( \
        const tp_row_i16_t *q __attribute__((unused))) { \
        __asm volatile( \
            "push {r4-r11, lr}\n" \
            "ldm r0, {r0-r5}\n" \
            "1:\n" \
            UPDATE_I16(store) \
            UPDATE_I16(store) \
            "cmp r1, r5\n" \
            "bne 1b\n" \
            "pop {r4-r11, pc}\n"); \
    }
TP_UPDATE_I16(tp_update_i16, "strd r6, r12, [r0], #8\n")
TP_UPDATE_I16(tp_update_anywhere_i16, "str r6, [r0], #4\n" "str r12, [r0], #4\n")

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
        size_t whole = n & ~(size_t)7u;
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
                .end = words + whole};
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
