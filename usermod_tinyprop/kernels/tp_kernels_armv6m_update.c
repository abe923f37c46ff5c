// Updates of integer weights for the Cortex-M0 and M0+ (see tp_kernels_armv6m.c): four int8 or two
// int16 weights at a time as one number of 32 bits.
#include "tp_kernels_int.h"

#if TP_KERNELS_ARMV6M

#include <string.h>

#include "tp_kernels_armv6m.h"

// Columns whose inputs are unpacked at a time, on the stack.
#define TP_BLOCK 512u
// Words of a list, there too.
#define TP_LISTED 96u

// clang-format off

// Where an update stands. The loops below end before a word with a weight that may have to be
// clipped (w < end then), with x and noise behind it.
typedef struct {
    void *w;
    const void *x;
    uint32_t noise;
    int32_t g;
    uint32_t shift;
    uint32_t step;  // of the noise from word to word (or half of it)
    uint32_t fields, lanes, signs, bias;
    void *end;
} tp_update_t;

#define BEGIN_UPDATE \
    SAVE \
    "mov r7, r0\n" \
    "adds r7, #20\n" \
    "ldm r7!, {r1-r6}\n" \
    "mov r8, r1\n" "mov r9, r2\n" "mov r10, r3\n" "mov r11, r4\n" "mov r12, r5\n" \
    "mov lr, r6\n" \
    "ldm r0!, {r1-r4, r7}\n" \
    "mov r0, r1\n" "mov r1, r2\n" "mov r2, r3\n" "mov r3, r4\n"
// r4 is the new word, r6 the old one; r5 the sign bits. Where no sign changed, no weight passed zero
// (with a carry into its neighbour) or an end. Else the sum is made of weights that count from 0,
// where zero is nothing special; and as no step is longer than a quarter of the range, a weight
// whose sign changed passed an end if its upper two bits differ.
#define LOOK \
    "eors r6, r4\n" \
    "tst r6, r5\n" \
    "bne 3f\n"
#define LOOK_AGAIN \
    "eors r6, r4\n" \
    "subs r4, r4, r6\n" \
    "eors r6, r5\n" \
    "adds r4, r4, r6\n" \
    "eors r6, r4\n" \
    "eors r4, r5\n" \
    "ands r5, r6\n" \
    "lsls r6, r4, #1\n" \
    "eors r6, r4\n" \
    "tst r5, r6\n" \
    "beq 2b\n"
#define END_UPDATE \
    LOOK \
    "2:\n" \
    "stm r0!, {r4}\n" \
    "cmp r0, lr\n" \
    "bne 1b\n" \
    "b 4f\n" \
    "3:\n" \
    LOOK_AGAIN \
    "4:\n" \
    "ldr r4, [sp]\n" \
    "stm r4!, {r0-r2}\n" \
    RESTORE

#define STEP_LANES "add r2, r8\n" "mov r6, r10\n" "ands r2, r6\n"
// Four int8: x as lanes of 16 bits, columns 0 and 2, then 1 and 3.
#define TP_UPDATE_I8(name, between) \
    TP_NAKED static void name(tp_update_t *q) { \
        __asm volatile( \
            BEGIN_UPDATE \
            "1:\n" \
            "ldm r1!, {r4, r5}\n" \
            "muls r4, r3\n" \
            "muls r5, r3\n" \
            "adds r4, r4, r2\n" \
            between \
            "adds r5, r5, r2\n" \
            STEP_LANES \
            "lsrs r4, r7\n" \
            "lsrs r5, r7\n" \
            "mov r6, r9\n" \
            "ands r4, r6\n" \
            "ands r5, r6\n" \
            "lsls r5, r5, #8\n" \
            "ldr r6, [r0]\n" \
            "adds r4, r4, r5\n" \
            "adds r4, r4, r6\n" \
            "add r4, r12\n" \
            "mov r5, r11\n" \
            END_UPDATE); \
    }
TP_UPDATE_I8(tp_update_i8, "")
// Columns 0 and 1 share no noise.
TP_UPDATE_I8(tp_update_odd_i8, STEP_LANES)

// Two int16. The noise is the upper half of r2, which wraps by itself.
#define STEP_NOISE "add r2, r8\n"
#define TP_UPDATE_I16(name, between, after) \
    TP_NAKED static void name(tp_update_t *q) { \
        __asm volatile( \
            BEGIN_UPDATE \
            "1:\n" \
            "ldm r1!, {r5}\n" \
            "lsrs r6, r2, #16\n" \
            "sxth r4, r5\n" \
            "asrs r5, r5, #16\n" \
            "muls r4, r3\n" \
            "muls r5, r3\n" \
            "adds r4, r4, r6\n" \
            between \
            "adds r5, r5, r6\n" \
            after \
            "asrs r4, r4, #16\n" \
            "ands r5, r7\n" \
            "ldr r6, [r0]\n" \
            "adds r4, r4, r5\n" \
            "adds r4, r4, r6\n" \
            "mov r5, r11\n" \
            END_UPDATE); \
    }
TP_UPDATE_I16(tp_update_i16, "", STEP_NOISE)
TP_UPDATE_I16(tp_update_odd_i16, STEP_NOISE "lsrs r6, r2, #16\n", "")

// Four int8 or two int16 with an input that is not zero, and where they are in a row.
typedef struct {
    uint32_t at;      // in bytes
    uint32_t x, x_odd; // lanes of 16 bits as above; two int16
    uint32_t noise;   // of a row whose own noise is 0
} tp_word_t;

// Those of int16 with a column of columns .. end, up to `limit`: where the list ends, and above that
// the columns that were taken. `step`: noise from column to column.
TP_NAKED static uint64_t tp_words_i16(tp_word_t *to, const uint16_t *columns, const uint16_t *end,
    const void *x, const tp_word_t *limit, uint32_t step) {
    __asm volatile(
        ".syntax unified\n"
        "push {r4-r7, lr}\n"
        "ldr r4, [sp, #20]\n" "mov r12, r4\n" "ldr r4, [sp, #24]\n" "mov lr, r4\n"
        "movs r6, #0\n"
        "1:\n"
        "ldrh r4, [r1]\n" "adds r1, #2\n" "cmp r4, r6\n" "blo 2f\n" // in the word of before
        "lsrs r4, r4, #1\n" "lsls r4, r4, #1\n" "adds r6, r4, #2\n"
        "mov r7, lr\n" "muls r7, r4\n"
        "lsls r4, r4, #1\n" "ldrsh r5, [r3, r4]\n" "stm r0!, {r4, r5}\n"
        "adds r4, #2\n" "ldrsh r5, [r3, r4]\n" "stm r0!, {r5, r7}\n"
        "cmp r0, r12\n" "beq 3f\n"
        "2:\n"
        "cmp r1, r2\n" "blo 1b\n"
        "3:\n"
        "cmp r1, r2\n" "bhs 4f\n"
        "ldrh r4, [r1]\n" "cmp r4, r6\n" "bhs 4f\n" // the other half of the last word
        "adds r1, #2\n"
        "4:\n"
        "pop {r4-r7, pc}\n");
}

// One row over a list of such words. Returns the first one with a weight that may have to be clipped,
// or the end.
typedef struct {
    const tp_word_t *from, *to;
    int32_t g;
    uint32_t shift;
    void *w;
    uint32_t noise, fields, lanes, signs, bias; // fields of int16: w
} tp_list_t;

#define TP_LIST(name, sums, look) \
    TP_HOT TP_NAKED static const tp_word_t *name(const tp_list_t *q) { \
        __asm volatile( \
            SAVE \
            "mov r7, r0\n" "adds r7, #20\n" "ldm r7!, {r1-r5}\n" \
            "mov r8, r1\n" "mov r9, r2\n" "mov r10, r3\n" "mov r11, r4\n" "mov r12, r5\n" \
            "ldm r0!, {r1-r3, r6, r7}\n" "mov lr, r2\n" "str r7, [sp]\n" \
            "mov r7, r6\n" "mov r0, r11\n" \
            "1:\n" \
            "ldm r1!, {r2, r4-r6}\n" "add r6, r8\n" \
            sums \
            "ldr r6, [r2]\n" "adds r4, r4, r6\n" \
            look \
            "bne 3f\n" \
            "2:\n" \
            "str r4, [r2]\n" \
            "5:\n" \
            "cmp r1, lr\n" "bne 1b\n" "b 4f\n" \
            "3:\n" \
            "mov r5, r11\n" \
            LOOK_AGAIN \
            "subs r1, r1, #16\n" \
            "4:\n" \
            "mov r0, r1\n" \
            RESTORE); \
    }
TP_LIST(tp_list_i8,
    "muls r4, r3\n" "muls r5, r3\n" "mov r0, r10\n" "ands r6, r0\n" "adds r4, r4, r6\n"
    "adds r5, r5, r6\n" "lsrs r4, r7\n" "lsrs r5, r7\n" "mov r0, r9\n" "ands r4, r0\n"
    "ands r5, r0\n" "lsls r5, r5, #8\n" "ldr r0, [sp]\n" "adds r2, r2, r0\n"
    "add r4, r12\n" "adds r4, r4, r5\n"
    "beq 5f\n", // no weight changes
    "mov r5, r11\n" "eors r6, r4\n" "tst r6, r5\n")
TP_LIST(tp_list_i16,
    "lsrs r6, r6, #16\n" "muls r4, r3\n" "muls r5, r3\n" "adds r4, r4, r6\n"
    "adds r5, r5, r6\n" "asrs r4, r4, #16\n" "ands r5, r7\n" "add r2, r9\n"
    "adds r4, r4, r5\n",
    "eors r6, r4\n" "tst r6, r0\n")

// clang-format on

// Bytes from the begin of a row to the next word of 4.
static uint32_t tp_skew(const tp_ki_row_t *row) {
    return (0u - (uint32_t)(uintptr_t)row->w) & 3u;
}

// n columns of a row from `from` on, one by one.
static TP_APART void tp_some(bool wide, const tp_ki_row_t *row, const void *x, size_t from,
    size_t n) {
    for (size_t i = from; i < from + n; i++) {
        int8_t *w = (int8_t *)row->w + i;
        int16_t *w_wide = (int16_t *)row->w + i;
        int32_t noise = (int32_t)tp_ki_noise(row->noise, row->shift, i);
        int32_t at = wide ? ((const int16_t *)x)[i] : ((const int8_t *)x)[i];
        int32_t v = (wide ? *w_wide : *w) + ((row->g * at + noise) >> row->shift);
        if (wide) {
            *w_wide = (int16_t)(v == (int16_t)v ? v : (v >> 31) ^ 32767);
        } else {
            *w = (int8_t)(v == (int8_t)v ? v : (v >> 31) ^ 127);
        }
    }
}

// x of four int8 from v on as lanes of 16 bits.
static inline void tp_lanes(uint32_t *pairs, const int8_t *v) {
    pairs[0] = (uint32_t)v[2] * 65536u + (uint32_t)v[0];
    pairs[1] = (uint32_t)v[3] * 65536u + (uint32_t)v[1];
}

// Columns from .. from + n of a row, n a multiple of 4 (2) and w + from of 4 bytes.
static void tp_words(bool wide, const tp_ki_row_t *row, const void *x, const uint32_t *pairs,
    size_t from, size_t n) {
    uint32_t shift = row->shift, mask = (1u << shift) - 1u, odd = from & 1u;
    uint32_t step = tp_ki_noise_step(shift), bias = 1u << (15u - (shift & 15u));
    uint32_t noise = tp_ki_noise(row->noise, shift, from);
    uint8_t *w = row->w;
    size_t bytes = wide ? 2u : 1u;
    tp_update_t q = {w + from * bytes, pairs, noise << 16, row->g, 0xffff0000u, step << 16, 0, 0,
        0x80008000u, 0, w + (from + n) * bytes};
    void (*update)(tp_update_t *) = odd ? tp_update_odd_i16 : tp_update_i16;
    if (!wide) {
        noise |= tp_ki_noise(row->noise, shift, from + 2u) << 16;
        q.noise = noise + 0x80008000u;
        q.shift = shift;
        q.step = (step << (1u - odd) & mask) * 0x10001u;
        q.fields = (2u * bias - 1u) * 0x10001u;
        q.lanes = (mask + 0x8000u) * 0x10001u;
        q.signs = 0x80808080u;
        q.bias = 0u - bias * 0x01010101u;
        update = odd ? tp_update_odd_i8 : tp_update_i8;
    }
    while (q.w != q.end) {
        update(&q);
        if (q.w != q.end) {
            tp_some(wide, row, x, (size_t)((uint8_t *)q.w - w) / bytes, 4u / bytes);
            q.w = (uint8_t *)q.w + 4u;
        }
    }
}

// All columns. Rows by where they begin in a word of 4 bytes, since x has to be unpacked for each
// kind; of these those `skew`, `skew` + `step` ... bytes before one.
static TP_APART void tp_all_update(bool wide, const tp_ki_row_t *rows, size_t n_rows,
    const void *x, size_t cols, uint32_t skew, uint32_t step) {
    uint32_t pairs[TP_BLOCK / 2u];
    for (; skew < 4u; skew += step) {
        size_t first = wide ? skew / 2u : skew, unpacked = SIZE_MAX;
        first = first < cols ? first : cols;
        for (size_t from = first; from <= cols; from += TP_BLOCK) {
            size_t n = cols - from < TP_BLOCK ? cols - from : TP_BLOCK;
            size_t words = n & ~(size_t)(wide ? 1u : 3u);
            for (size_t o = 0; o < n_rows; o++) {
                if (tp_skew(&rows[o]) != skew) {
                    continue;
                }
                if (unpacked != from && wide) {
                    memcpy(pairs, (const int16_t *)x + from, 2u * words);
                } else if (unpacked != from) {
                    for (size_t i = 0; i < words; i += 4u) {
                        tp_lanes(pairs + i / 2u, (const int8_t *)x + from + i);
                    }
                }
                unpacked = from;
                if (from == first) {
                    tp_some(wide, &rows[o], x, 0, first);
                }
                if (words > 0) {
                    tp_words(wide, &rows[o], x, pairs, from, words);
                }
                tp_some(wide, &rows[o], x, from + words, n - words);
            }
        }
    }
}

static void tp_list_row(bool wide, const tp_ki_row_t *row, const void *x, const tp_word_t *from,
    const tp_word_t *to) {
    uint32_t mask = (1u << row->shift) - 1u, bias = 1u << (15u - (row->shift & 15u));
    tp_list_t q = {from, to, row->g, 0xffff0000u, row->w, row->noise << 16,
        (uint32_t)(uintptr_t)row->w, 0, 0x80008000u, 0};
    if (!wide) {
        q.shift = row->shift;
        q.noise = row->noise * 0x10001u + 0x80008000u;
        q.fields = (2u * bias - 1u) * 0x10001u;
        q.lanes = (mask + 0x8000u) * 0x10001u;
        q.signs = 0x80808080u;
        q.bias = 0u - bias * 0x01010101u;
    }
    while (q.from != to) {
        q.from = wide ? tp_list_i16(&q) : tp_list_i8(&q);
        if (q.from != to) {
            tp_some(wide, row, x, wide ? q.from->at / 2u : q.from->at, wide ? 2u : 4u);
            q.from++;
        }
    }
}

// The words with columns of index, of the rows that begin `skew` bytes before a word.
static TP_APART void tp_list_update(bool wide, const tp_ki_row_t *rows, size_t n_rows,
    const void *x, size_t cols, const tp_ki_index_t *index, uint32_t skew) {
    tp_word_t list[TP_LISTED];
    size_t each = wide ? 2u : 4u, first = wide ? 0 : skew, next = first; // columns of a word
    size_t over = (cols - first) & (each - 1u), whole = cols - over;
    uint32_t shifts = 0;
    for (size_t o = 0; o < n_rows; o++) {
        if (tp_skew(&rows[o]) == skew) {
            shifts |= 1u << rows[o].shift;
            if (first + over > 0) {
                tp_some(wide, &rows[o], x, 0, first);
                tp_some(wide, &rows[o], x, cols - over, over);
            }
        }
    }
    const uint16_t *c = index->columns, *end = c + index->total;
    while (c < end && end[-1] >= whole) {
        end--;
    }
    while (shifts != 0 && c < end) {
        tp_word_t *to = list;
        if (wide) {
            uint64_t ends =
                tp_words_i16(to, c, end, x, list + TP_LISTED, tp_ki_noise_step(16) << 15);
            to = (tp_word_t *)(uintptr_t)(uint32_t)ends;
            c = (const uint16_t *)(uintptr_t)(uint32_t)(ends >> 32);
        }
        for (; c < end && !wide && to < list + TP_LISTED; c++) {
            size_t at = *c;
            if (at < next) { // in the word of before, or in front of all
                continue;
            }
            at -= (at - first) & 3u;
            next = at + 4u;
            to->at = (uint32_t)at;
            tp_lanes(&to->x, (const int8_t *)x + at);
            to++;
        }
        for (uint32_t s = 8; s <= 16u; s++) {
            uint32_t step = tp_ki_noise_step(s), mask = (1u << s) - 1u;
            if ((shifts >> s & 1u) == 0) {
                continue;
            }
            for (tp_word_t *q = list; q < to && !wide; q++) {
                uint32_t noise = q->at / 2u * step;
                q->noise = (noise & mask) | ((noise + step) & mask) << 16;
            }
            for (size_t o = 0; o < n_rows; o++) {
                if (tp_skew(&rows[o]) == skew && rows[o].shift == s) {
                    tp_list_row(wide, &rows[o], x, list, to);
                }
            }
        }
    }
}

// Where a list is worth it, the rows whose words begin at an even column go by it.
static void tp_update(bool wide, const tp_ki_row_t *rows, size_t n_rows, const void *x,
    size_t cols, const tp_ki_index_t *index) {
    if (index == NULL || index->total * 8u >= cols * (wide ? 4u : 3u) || cols < 4u) {
        tp_all_update(wide, rows, n_rows, x, cols, 0, wide ? 2u : 1u);
        return;
    }
    tp_list_update(wide, rows, n_rows, x, cols, index, 0);
    if (!wide) {
        tp_list_update(wide, rows, n_rows, x, cols, index, 2u);
    }
    tp_all_update(wide, rows, n_rows, x, cols, wide ? 2u : 1u, 2u);
}

void tp_ki_rows_update_i8(const tp_ki_row_t *rows, size_t n_rows, const int8_t *x, size_t cols,
    const tp_ki_index_t *index) {
    tp_update(false, rows, n_rows, x, cols, index);
}

void tp_ki_rows_update_i16(const tp_ki_row_t *rows, size_t n_rows, const int16_t *x, size_t cols,
    const tp_ki_index_t *index) {
    tp_update(true, rows, n_rows, x, cols, index);
}

#endif
