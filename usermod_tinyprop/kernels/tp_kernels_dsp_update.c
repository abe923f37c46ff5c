// Updates of integer weights for cores with the DSP instructions (see tp_kernels_dsp.c).
#include "tp_kernels_int.h"

#if TP_KERNELS_DSP

#include "tp_kernels_dsp.h"

// clang-format off

// A row: all registers there are, so it is told in memory. Lanes are 16 bits wide; the sums are
// kept from becoming negative by a bias.
typedef struct {
    int8_t *w;
    const uint32_t *x;
    uint32_t noise;
    int32_t g;
    uint32_t step, right, less, lanes, bytes, bias;
    const uint32_t *eights, *end; // of x
} tp_update_t;

// Steps of four weights, as bytes, from their inputs: two sums of two lanes (columns 0 and 2, 1 and
// 3), which share their noise, shifted so that the results are the even and the odd bytes.
#define STEPS_I8(x, y) \
    "mla " x ", r3, " x ", r2\n" \
    "mla " y ", r3, " y ", r2\n" \
    "adds r2, r4\n" \
    "ands r2, r7\n" \
    "lsr " x ", " x ", r5\n" \
    "lsr " y ", " y ", r6\n" \
    "sel " x ", " x ", " y "\n" \
    "and " x ", r8\n" \
    "qsub8 " x ", " x ", r9\n"
#define EIGHT_I8(load, store) \
    "ldm r1!, {r10-r12, lr}\n" \
    STEPS_I8("r10", "r11") \
    STEPS_I8("r12", "lr") \
    load \
    "qadd8 r11, r11, r10\n" \
    "qadd8 lr, lr, r12\n" \
    store
#define TP_UPDATE_I8(name, load, store) \
    __attribute__((naked, noipa)) static void name( \
        const tp_update_t *q __attribute__((unused))) { \
        __asm volatile( \
            "push {r4-r11, lr}\n" \
            "ldrd r10, r11, [r0, #40]\n" \
            "push {r10, r11}\n" \
            /* sel takes bytes 0 and 2 from its first operand. */ \
            "mov r10, #0x00ff00ff\n" \
            "uadd8 r10, r10, r10\n" \
            "ldm r0, {r0-r9}\n" \
            "b 2f\n" \
            "1:\n" \
            EIGHT_I8(load, store) \
            EIGHT_I8(load, store) \
            EIGHT_I8(load, store) \
            EIGHT_I8(load, store) \
            "2:\n" \
            "ldr r10, [sp]\n" \
            "cmp r1, r10\n" \
            "bne 1b\n" \
            "b 4f\n" \
            "3:\n" \
            "ldm r1!, {r10, r11}\n" \
            STEPS_I8("r10", "r11") \
            "ldr r11, [r0]\n" \
            "qadd8 r11, r11, r10\n" \
            "str r11, [r0], #4\n" \
            "4:\n" \
            "ldr r11, [sp, #4]\n" \
            "cmp r1, r11\n" \
            "bne 3b\n" \
            "pop {r10, r11}\n" \
            "pop {r4-r11, pc}\n"); \
    }
TP_UPDATE_I8(tp_update_i8, "ldrd r11, lr, [r0]\n", "strd r11, lr, [r0], #8\n")
TP_UPDATE_I8(tp_update_anywhere_i8, "ldr r11, [r0]\n" "ldr lr, [r0, #4]\n",
    "str r11, [r0], #4\n" "str lr, [r0], #4\n")

// Two weights: x and w in one register each; uadd16 lets the noise wrap.
#define NARROW(x) \
    "smlabb %[t], %[g], " x ", %[noise]\n" \
    "smlabt " x ", %[g], " x ", %[noise]\n"
// |g| has more than 15 bits.
#define WIDE(x) \
    "sxth %[t], " x "\n" \
    "asr " x ", " x ", #16\n" \
    "mla %[t], %[g], %[t], %[noise]\n" \
    "mla " x ", %[g], " x ", %[noise]\n"
#define UPDATE_I16(products, x, w) \
    products(x) \
    "uadd16 %[noise], %[noise], %[step]\n" \
    "pkhtb " x ", " x ", %[t], asr #16\n" \
    "qadd16 " w ", " w ", " x "\n"
#define EIGHT_I16(products, load_x, load_w, store_w) \
    load_x \
    load_w \
    UPDATE_I16(products, "r0", "r4") \
    UPDATE_I16(products, "r1", "r5") \
    store_w \
    load_w \
    UPDATE_I16(products, "r2", "r4") \
    UPDATE_I16(products, "r3", "r5") \
    store_w

// Eights of columns, at least one; two a turn, of an odd number the first turn has one.
#define TP_UPDATE_I16(name, products, load_x, load_w, store_w) \
    static __attribute__((noinline)) void name(int16_t *w, const int16_t *x, uint32_t noise, \
        uint32_t step, int32_t g, size_t n) { \
        uint32_t t; \
        __asm volatile( \
            "adds %[n], #1\n" \
            "lsrs %[n], %[n], #1\n" \
            "bcc 2f\n" \
            "1:\n" \
            EIGHT_I16(products, load_x, load_w, store_w) \
            "2:\n" \
            EIGHT_I16(products, load_x, load_w, store_w) \
            LOOP \
            : [w] "+r"(w), [x] "+r"(x), [noise] "+r"(noise), [n] "+r"(n), [t] "=&r"(t) \
            : [g] "r"(g), [step] "r"(step) \
            : "r0", "r1", "r2", "r3", "r4", "r5", "cc", "memory"); \
    }
#define ALIGNED "ldm %[x]!, {r0-r3}\n", "ldrd r4, r5, [%[w]]\n", "strd r4, r5, [%[w]], #8\n"
#define ANYWHERE \
    "ldr r0, [%[x]], #4\n" "ldr r1, [%[x]], #4\n" "ldr r2, [%[x]], #4\n" "ldr r3, [%[x]], #4\n", \
    "ldr r4, [%[w]]\n" "ldr r5, [%[w], #4]\n", "str r4, [%[w]], #4\n" "str r5, [%[w]], #4\n"
#define TP_UPDATE_I16_(...) TP_UPDATE_I16(__VA_ARGS__)
TP_UPDATE_I16_(tp_update_narrow_i16, NARROW, ALIGNED)
TP_UPDATE_I16_(tp_update_narrow_anywhere_i16, NARROW, ANYWHERE)
TP_UPDATE_I16_(tp_update_wide_i16, WIDE, ANYWHERE)

// clang-format on

// Columns of index; NULL: from .. cols.
static void tp_update_some_i8(const tp_ki_row_t *row, const int8_t *x, size_t from, size_t cols,
    const tp_ki_index_t *index) {
    int8_t *w = row->w;
    int32_t g = row->g;
    uint32_t noise = row->noise, shift = row->shift, step = tp_ki_noise_step(shift);
    uint32_t mask = (1u << shift) - 1u;
    if (index != NULL) {
        const uint16_t *columns = index->columns;
        for (const uint16_t *end = columns + index->total; columns != end; columns++) {
            uint32_t i = *columns;
            int32_t n = (int32_t)((noise + (i >> 1) * step) & mask);
            w[i] = (int8_t)__ssat(w[i] + ((g * x[i] + n) >> shift), 8);
        }
        return;
    }
    for (size_t i = from; i < cols; i++) {
        int32_t n = (int32_t)((noise + (i >> 1) * step) & mask);
        w[i] = (int8_t)__ssat(w[i] + ((g * x[i] + n) >> shift), 8);
    }
}

static void tp_update_some_i16(const tp_ki_row_t *row, const int16_t *x, size_t from, size_t cols,
    const tp_ki_index_t *index) {
    int16_t *w = row->w;
    int32_t g = row->g;
    uint32_t noise = row->noise, shift = 16, step = tp_ki_noise_step(shift);
    uint32_t mask = (1u << shift) - 1u;
    if (index != NULL) {
        const uint16_t *columns = index->columns;
        for (const uint16_t *end = columns + index->total; columns != end; columns++) {
            uint32_t i = *columns;
            int32_t n = (int32_t)((noise + (i >> 1) * step) & mask);
            w[i] = (int16_t)__ssat(w[i] + ((g * x[i] + n) >> shift), 16);
        }
        return;
    }
    for (size_t i = from; i < cols; i++) {
        int32_t n = (int32_t)((noise + (i >> 1) * step) & mask);
        w[i] = (int16_t)__ssat(w[i] + ((g * x[i] + n) >> shift), 16);
    }
}

void tp_ki_rows_update_i8(const tp_ki_row_t *rows, size_t n_rows, const int8_t *x, size_t cols,
    const tp_ki_index_t *index) {
    uint32_t pairs[TP_BLOCK / 2u];
    index = tp_worth(index, cols, 2);
    for (size_t o = 0; o < n_rows && index != NULL; o++) {
        tp_update_some_i8(&rows[o], x, 0, cols, index);
    }
    for (size_t from = 0; from < cols && index == NULL; from += TP_BLOCK) {
        size_t n = tp_block(cols - from), whole = n & ~(size_t)3u;
        tp_unpack(pairs, x + from, whole / 4u, true);
        for (size_t o = 0; o < n_rows; o++) {
            const tp_ki_row_t *row = &rows[o];
            uint32_t shift = row->shift, step = tp_ki_noise_step(shift);
            uint32_t first = tp_ki_noise(row->noise, shift, from);
            tp_ki_row_t part = {(int8_t *)row->w + from, row->g, first, shift};
            // The largest product with the largest noise of 8 bits would need a bit more.
            bool fits = shift > 8u || (row->g < 127 && row->g > -127);
            if (fits) {
                uint32_t mask = (1u << shift) - 1u, top = shift < 14u ? 14u : 15u;
                tp_update_t q = {.w = part.w,
                    .x = pairs,
                    .noise = (first | tp_ki_noise(first, shift, 2) << 16) + (0x10001u << top),
                    .g = row->g,
                    .step = (2u * step & mask) * 0x10001u,
                    .right = shift,
                    .less = shift - 8u,
                    .lanes = (mask + (1u << top)) * 0x10001u,
                    .bytes = ((1u << (16u - shift)) - 1u) * 0x01010101u,
                    .bias = (1u << (top - shift)) * 0x01010101u,
                    .eights = pairs + (whole & ~(size_t)31u) / 2u,
                    .end = pairs + whole / 2u};
                ((uintptr_t)part.w & 3u ? tp_update_anywhere_i8 : tp_update_i8)(&q);
            }
            tp_update_some_i8(&part, x + from, fits ? whole : 0, n, NULL);
        }
    }
}

void tp_ki_rows_update_i16(const tp_ki_row_t *rows, size_t n_rows, const int16_t *x, size_t cols,
    const tp_ki_index_t *index) {
    uint32_t step = tp_ki_noise_step(16);
    index = tp_worth(index, cols, 2);
    for (; n_rows > 0; n_rows--, rows++) {
        size_t from = 0, eights = cols / 8u;
        int16_t *w = rows->w;
        if (index == NULL && eights > 0) {
            bool narrow = rows->g == (int16_t)rows->g;
            bool aligned = (((uintptr_t)w | (uintptr_t)x) & 3u) == 0;
            (!narrow ? tp_update_wide_i16
                    : aligned
                    ? tp_update_narrow_i16
                    : tp_update_narrow_anywhere_i16)(w, x, rows->noise, step, rows->g, eights);
            from = 8u * eights;
        }
        tp_update_some_i16(rows, x, from, cols, index);
    }
}

#endif
