// The update of int8 weights for cores that multiply and saturate, but have no DSP instructions
// (Cortex-M3): four weights at a time as one number. Equal to tp_kernels_int.c bit for bit.
#include "tp_kernels_int.h"

#if TP_KERNELS_ARMV7M

#include <arm_acle.h>
#include <string.h>

#define SIGNS 0x80808080u

static inline uint32_t tp_word(const void *p) {
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static __attribute__((noinline)) void tp_some(const tp_ki_row_t *row, uint32_t shift,
    const int8_t *x, size_t from, size_t to) {
    int8_t *w = row->w;
    for (size_t i = from; i < to; i++) {
        int32_t noise = (int32_t)tp_ki_noise(row->noise, shift, i);
        w[i] = (int8_t)__ssat(w[i] + ((row->g * x[i] + noise) >> shift), 8);
    }
}

void tp_ki_row_update_i8(const tp_ki_row_t *row, uint32_t shift, const int8_t *x, size_t cols) {
    // Sums of products and noise in two lanes of 16 bits, columns 0 and 2, 1 and 3; they share their
    // noise, and a bias keeps them from becoming negative.
    uint32_t mask = (1u << shift) - 1u, bias = 1u << (15u - shift), g = (uint32_t)row->g;
    uint32_t lanes = (mask + 0x8000u) * 0x10001u, fields = (2u * bias - 1u) * 0x10001u;
    uint32_t step = (2u * tp_ki_noise_step(shift) & mask) * 0x10001u;
    uint32_t noise = (row->noise | tp_ki_noise(row->noise, shift, 2) << 16) + 0x80008000u;
    // x counts from -128, so that its lanes are bytes: 128 * g goes off again.
    uint32_t off = 128u * g * 0x10001u;
    int8_t *w = row->w;
    size_t i = 0;
    for (; i + 4u <= cols; i += 4u) {
        uint32_t v = tp_word(x + i) ^ SIGNS, n = noise - off;
        uint32_t even = (v & 0x00ff00ffu) * g + n, odd = (v >> 8 & 0x00ff00ffu) * g + n;
        noise = (noise + step) & lanes;
        even = even >> shift & fields;
        odd = odd >> shift & fields;
        uint32_t old = tp_word(w + i);
        uint32_t sum = old + even + (odd << 8) - bias * 0x01010101u;
        // Where no sign changed, no weight passed zero (with a carry into its neighbour) or an end.
        if (((old ^ sum) & SIGNS) != 0) {
            // Of weights that count from -128 zero is nothing special; and as no step is longer than
            // a quarter of the range, one whose sign changed passed an end if its upper bits differ.
            uint32_t from = old ^ SIGNS, to = from + (sum - old);
            sum = to ^ SIGNS;
            if (((from ^ to) & (sum ^ sum << 1) & SIGNS) != 0) {
                tp_some(row, shift, x, i, i + 4u);
                continue;
            }
        }
        memcpy(w + i, &sum, sizeof(sum));
    }
    tp_some(row, shift, x, i, cols);
}

#endif
