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

// Words w .. end of a row.
typedef struct {
    void *w;
    const void *x;
    uint32_t noise;
    int32_t g;
    uint32_t shift; // of int8 less 8
    uint32_t step;  // of the noise from word to word (or half of it)
    uint32_t fields, lanes, signs;
    void *end;
    void (*clip)(void);
} tp_update_t;

#define BEGIN_UPDATE \
    SAVE \
    "mov r7, r0\n" \
    "adds r7, #20\n" \
    "ldm r7!, {r1-r5}\n" \
    "mov r8, r1\n" "mov r9, r2\n" "mov r10, r3\n" "mov r11, r4\n" "mov lr, r5\n" \
    "ldm r0!, {r1-r4, r7}\n" \
    "mov r0, r1\n" "mov r1, r2\n" "mov r2, r3\n" "mov r3, r4\n"
// r4 is the new word, r6 the old one; r5 the sign bits. Where no sign changed, no weight passed zero
// (with a carry into its neighbour) or an end.
#define LOOK \
    "eors r6, r4\n" \
    "tst r6, r5\n" \
    "bne 3f\n"
// Else the sum is made of weights that count from 0, where zero is nothing special; and as no step is
// longer than a quarter of the range, a weight whose sign changed passed an end if its upper two bits
// differ.
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
// Then what is added (r4) is taken apart, weight by weight. r0 goes from this word to the next.
#define TP_CLIP(name, extend, load, store, bits) \
    TP_HOT TP_NAKED static void name(void) { \
        __asm volatile( \
            ".syntax unified\n" \
            "mov r5, r11\n" "ldr r6, [r0]\n" "eors r4, r5\n" "eors r6, r5\n" "subs r4, r4, r6\n" \
            "1:\n" \
            extend " r5, r4\n" "subs r4, r4, r5\n" "asrs r4, r4, #" bits "\n" \
            "movs r6, #0\n" load " r6, [r0, r6]\n" "adds r5, r5, r6\n" \
            extend " r6, r5\n" "cmp r6, r5\n" "beq 2f\n" \
            "asrs r5, r5, #31\n" "movs r6, #128\n" "lsls r6, r6, #" bits " - 8\n" \
            "subs r6, #1\n" "eors r5, r6\n" \
            "2:\n" \
            store " r5, [r0]\n" "adds r0, #" bits " / 8\n" "lsls r6, r0, #30\n" "bne 1b\n" \
            "bx lr\n"); \
    }
TP_CLIP(tp_clip_i8, "sxtb", "ldrsb", "strb", "8")
TP_CLIP(tp_clip_i16, "sxth", "ldrsh", "strh", "16")
// Its address is `at` behind what the first word on the stack points to.
#define CLIP(at) \
    "mov r5, lr\n" "push {r5}\n" "ldr r5, [sp, #4]\n" "ldr r5, [r5, #" at "]\n" "blx r5\n" \
    "pop {r5}\n" "mov lr, r5\n"
#define END_UPDATE \
    LOOK \
    "2:\n" \
    "stm r0!, {r4}\n" \
    "4:\n" \
    "cmp r0, lr\n" \
    "bne 1b\n" \
    RESTORE \
    "3:\n" \
    LOOK_AGAIN \
    CLIP("40") \
    "b 4b\n"

// Sums in lanes, r4 and r5, to four int8 in r4; r5: the sign bits. Each sum is 2^15 above what it
// stands for, so that no lane borrows from the next: the fields on top of them, put together, are
// too large by 128 before they are shifted to their places (r7: bits, less 8).
#define GATHER(spare) \
    "mov " spare ", r9\n" "ands r4, " spare "\n" "ands r5, " spare "\n" "lsrs r4, r4, #8\n" \
    "adds r4, r4, r5\n" "mov r5, r11\n" "subs r4, r4, r5\n" "asrs r4, r7\n"
#define STEP_LANES "add r2, r8\n" "mov r6, r10\n" "ands r2, r6\n"
// Four int8: x as lanes of 16 bits, columns 0 and 2, then 1 and 3.
#define TP_UPDATE_I8(name, between) \
    TP_NAKED static void name(const tp_update_t *q) { \
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
            GATHER("r6") \
            "ldr r6, [r0]\n" \
            "adds r4, r4, r6\n" \
            END_UPDATE); \
    }
TP_UPDATE_I8(tp_update_i8, "")
// Columns 0 and 1 share no noise.
TP_UPDATE_I8(tp_update_odd_i8, STEP_LANES)

// Two int16. The noise is the upper half of r2, which wraps by itself.
#define STEP_NOISE "add r2, r8\n"
#define TP_UPDATE_I16(name, between, after) \
    TP_NAKED static void name(const tp_update_t *q) { \
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

// Four int8 or two int16 with inputs that are not zero, and where they are in a row.
typedef struct {
    uint32_t at;      // in bytes
    uint32_t x, x_odd; // lanes of 16 bits as above; two int16
    uint32_t noise;   // of a row whose own noise is 0
} tp_word_t;

// The one with such an input in its word. Noise in the upper bits, which wraps by itself.
typedef struct {
    uint32_t at;
    int32_t x;
    uint32_t noise;
} tp_single_t;

// Lists in the making, of the columns .. end, at least one: words rise from one end of a block,
// singles fall from the other until they meet.
typedef struct {
    tp_word_t *words;
    const uint16_t *columns, *end;
    const void *x;
    uint8_t *singles; // 16 bytes in front of the last
    uint32_t step;    // noise from byte to byte of a row of int16; of int8 the first column of a word
} tp_lists_t;

#define TP_LISTS(name, next, word, single) \
    TP_NAKED static void name(tp_lists_t *q) { \
        __asm volatile( \
            ".syntax unified\n" \
            "push {r0, r4-r7, lr}\n" \
            "ldm r0!, {r1-r6}\n" \
            "mov r0, r1\n" "mov r1, r2\n" "mov r2, r3\n" "mov r3, r4\n" "mov r12, r5\n" \
            "mov lr, r6\n" \
            "1:\n" \
            "ldrh r4, [r1]\n" "adds r1, #2\n" \
            next \
            word \
            "b 5f\n" \
            single \
            "mov r6, r12\n" "adds r6, #4\n" "stm r6!, {r4, r5, r7}\n" "subs r6, #28\n" \
            "mov r12, r6\n" \
            "5:\n" \
            "cmp r0, r12\n" "bhi 6f\n" "cmp r1, r2\n" "blo 1b\n" \
            "6:\n" \
            "pop {r7}\n" "stm r7!, {r0, r1}\n" "mov r0, r12\n" "str r0, [r7, #8]\n" \
            "pop {r4-r7, pc}\n"); \
    }
TP_LISTS(tp_lists_i16,
    "lsls r4, r4, #1\n" "ldrsh r5, [r3, r4]\n" "mov r7, lr\n" "lsrs r6, r4, #2\n" "bcs 3f\n"
    "muls r7, r4\n" "adds r6, r4, #2\n" "ldrsh r6, [r3, r6]\n" "cmp r6, #0\n" "beq 4f\n",
    "stm r0!, {r4-r7}\n" "adds r1, #2\n",
    "3:\n" "subs r6, r4, #2\n" "muls r7, r6\n" "4:\n")
#define LANES(even, odd) \
    "movs r7, #" odd "\n" "ldrsb r5, [r6, r7]\n" "movs r7, #" even "\n" "ldrsb r7, [r6, r7]\n" \
    "lsls r5, r5, #16\n" "adds r5, r5, r7\n"
TP_LISTS(tp_lists_i8,
    "mov r5, lr\n" "subs r6, r4, r5\n" "movs r5, #3\n" "bics r6, r5\n" "add r6, lr\n"
    "adds r7, r6, #4\n" // where the next word begins
    "cmp r1, r2\n" "bhs 3f\n" "ldrh r5, [r1]\n" "cmp r5, r7\n" "bhs 3f\n",
    "2:\n"
    "adds r1, #2\n" "cmp r1, r2\n" "bhs 4f\n" "ldrh r5, [r1]\n" "cmp r5, r7\n" "blo 2b\n"
    "4:\n"
    "mov r4, r6\n" "adds r6, r3, r6\n"
    LANES("0", "2") "stm r0!, {r4, r5}\n" LANES("1", "3") "stm r0!, {r5, r6}\n",
    "3:\n" "ldrsb r5, [r3, r4]\n")

// Both lists for those rows that begin `skew` bytes before a word and (int8) have this shift.
typedef struct {
    const tp_ki_row_t *row, *end;
    uint32_t shift, skew;
    const tp_word_t *words, *words_end;
    uint32_t r7; // of int16 its fields, of int8 the shift less 8
    const tp_single_t *singles, *singles_end;
    uint32_t up; // of int8: 24 less its shift
    uint32_t fields, lanes, signs, bias;
    void (*clip)(void);
} tp_list_t;

// Four in a turn, the first turn from its middle.
#define ENTER(left, none, missing, times) \
    "mov r4, r12\n" \
    "subs r4, " left "\n" \
    "beq 0" none "\n" \
    "movs r5, #" missing "\n" "ands r4, r5\n" "movs r5, #" times "\n" "muls r4, r5\n"
#define TP_LIST(name, find, begin, enter, one, begin_singles, load, store, bits) \
    TP_HOT TP_NAKED static void name(tp_list_t *q) { \
        __asm volatile( \
            SAVE \
            "adds r0, #40\n" "ldm r0!, {r1-r3}\n" \
            "mov r9, r1\n" "mov r10, r2\n" "mov r11, r3\n" \
            "b 8f\n" \
            "0:\n" \
            "b 4f\n" \
            "7:\n" \
            RESTORE \
            "8:\n" \
            "ldr r0, [sp]\n" "ldm r0!, {r1, r2}\n" \
            find \
            "ldm r1!, {r2-r5}\n" "subs r0, #8\n" "str r1, [r0]\n" "lsls r5, r4, #16\n" \
            begin \
            "ldr r6, [r0, #12]\n" "adds r6, r6, r2\n" "lsls r6, r6, #30\n" "bne 8b\n" \
            "mov lr, r2\n" "mov r8, r5\n" \
            "adds r0, #16\n" "ldm r0!, {r1, r2, r7}\n" "mov r12, r2\n" "mov r0, r11\n" \
            "5:\n" \
            enter \
            "add pc, r4\n" \
            "nop\n" \
            "1:\n" \
            one one one one \
            "cmp r1, r12\n" "bne 1b\n" "b 4f\n" \
            "2:\n" \
            "str r4, [r2]\n" "b 5b\n" \
            "3:\n" \
            "mov r5, r11\n" \
            LOOK_AGAIN \
            "mov r0, r2\n" \
            CLIP("56") \
            "mov r0, r11\n" "b 5b\n" \
            "4:\n" \
            "ldr r0, [sp]\n" "adds r0, #28\n" "ldm r0!, {r1, r2, r4}\n" \
            "mov r12, r2\n" "mov r7, lr\n" "movs r0, #" bits "\n" \
            begin_singles \
            "5:\n" \
            ENTER("r4, r1", "f", "12", "5") \
            "add pc, r4\n" \
            "nop\n" \
            "1:\n" \
            SINGLE(load, store, bits) SINGLE(load, store, bits) \
            SINGLE(load, store, bits) SINGLE(load, store, bits) \
            "cmp r1, r12\n" "bne 1b\n" \
            "0:\n" \
            "b 8b\n" \
            "3:\n" /* past an end, with the sign of the other */ \
            "asrs r4, r4, #31\n" "movs r5, #128\n" "lsls r5, r5, #" bits " - 8\n" \
            "eors r4, r5\n" store " r4, [r7, r2]\n" "b 5b\n"); \
    }
// The weight on top of its noise.
#define SINGLE(load, store, bits) \
    "ldm r1!, {r2, r4, r5}\n" "add r5, r8\n" load " r6, [r7, r2]\n" "adds r5, r5, r6\n" \
    "rors r5, r0\n" "muls r4, r3\n" "adds r4, r4, r5\n" "bvs 3f\n" \
    "lsrs r4, r4, #32 - " bits "\n" store " r4, [r7, r2]\n"
TP_LIST(tp_list_i8,
    "ldr r6, [r0]\n"
    "9:\n"
    "cmp r1, r2\n" "beq 7b\n" "ldr r5, [r1, #12]\n" "adds r1, #16\n" "cmp r5, r6\n" "bne 9b\n"
    "subs r1, #16\n",
    "ldr r6, [r0, #52]\n" "adds r5, r5, r4\n" "adds r5, r5, r6\n",
    ENTER("r1, r4", "b", "48", "3"),
    "ldm r1!, {r2, r4-r6}\n" "add r6, r8\n" "mov r0, r10\n" "ands r6, r0\n"
    "muls r4, r3\n" "muls r5, r3\n" "adds r4, r4, r6\n" "adds r5, r5, r6\n"
    GATHER("r0")
    "beq 6f\n" // no weight changes
    "add r2, lr\n" "ldr r6, [r2]\n" "adds r4, r4, r6\n" "eors r6, r4\n" "tst r6, r5\n"
    "bne 3f\n" "str r4, [r2]\n"
    "6:\n",
    "lsls r3, r4\n" "adds r4, #8\n" "mov r5, r8\n" "lsls r5, r4\n" "mov r8, r5\n",
    "ldrb", "strb", "8")
TP_LIST(tp_list_i16, "cmp r1, r2\n" "beq 7b\n", "", ENTER("r1, r4", "b", "48", "17") "lsrs r4, r4, #3\n",
    "ldm r1!, {r2, r4-r6}\n" "add r6, r8\n" "lsrs r6, r6, #16\n" "muls r4, r3\n"
    "muls r5, r3\n" "adds r4, r4, r6\n" "adds r5, r5, r6\n" "asrs r4, r4, #16\n"
    "ands r5, r7\n" "add r2, lr\n" "adds r4, r4, r5\n" "ldr r6, [r2]\n" "adds r4, r4, r6\n"
    "eors r6, r4\n" "tst r6, r0\n" "bne 3f\n" "str r4, [r2]\n",
    "", "ldrh", "strh", "16")

// clang-format on

// An update; `shifts`: bits of those that rows have.
typedef struct {
    const tp_ki_row_t *rows, *end;
    const void *x;
    size_t cols;
    const tp_ki_index_t *index;
    uint32_t shifts;
    bool wide;
} tp_step_t;

// Bytes from the begin of a row to the next word of 4.
static uint32_t tp_skew(const tp_ki_row_t *row) {
    return (0u - (uint32_t)(uintptr_t)row->w) & 3u;
}

// n columns of a row from `from` on, one by one.
static TP_APART void tp_some(const tp_step_t *k, const tp_ki_row_t *row, size_t from, size_t n) {
    const void *x = k->x;
    bool wide = k->wide;
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
static void tp_words(bool wide, const tp_ki_row_t *row, const uint32_t *pairs, size_t from,
    size_t n) {
    uint32_t shift = row->shift, mask = (1u << shift) - 1u, odd = from & 1u;
    uint32_t step = tp_ki_noise_step(shift);
    uint32_t noise = tp_ki_noise(row->noise, shift, from);
    uint8_t *w = row->w;
    size_t bytes = wide ? 2u : 1u;
    tp_update_t q = {w + from * bytes, pairs, noise << 16, row->g, 0xffff0000u, step << 16, 0, 0,
        0x80008000u, w + (from + n) * bytes, wide ? tp_clip_i16 : tp_clip_i8};
    void (*update)(const tp_update_t *) = odd ? tp_update_odd_i16 : tp_update_i16;
    if (!wide) {
        noise |= tp_ki_noise(row->noise, shift, from + 2u) << 16;
        q.noise = noise + 0x80008000u;
        q.shift = shift - 8u;
        q.step = (step << (1u - odd) & mask) * 0x10001u;
        q.fields = (65535u - mask) * 0x10001u;
        q.lanes = (mask + 0x8000u) * 0x10001u;
        q.signs = 0x80808080u;
        update = odd ? tp_update_odd_i8 : tp_update_i8;
    }
    update(&q);
}

// All columns, of the rows that begin `skew` bytes before a word of 4, for which x is unpacked.
static TP_APART void tp_all_update(const tp_step_t *k, uint32_t skew) {
    uint32_t pairs[TP_BLOCK / 2u];
    const void *x = k->x;
    bool wide = k->wide;
    size_t cols = k->cols, first = wide ? skew / 2u : skew;
    first = first < cols ? first : cols;
    for (size_t from = first; from <= cols; from += TP_BLOCK) {
        size_t n = cols - from < TP_BLOCK ? cols - from : TP_BLOCK;
        size_t words = n & ~(size_t)(wide ? 1u : 3u);
        if (wide) {
            memcpy(pairs, (const int16_t *)x + from, 2u * words);
        }
        for (size_t i = 0; i < words && !wide; i += 4u) {
            tp_lanes(pairs + i / 2u, (const int8_t *)x + from + i);
        }
        for (const tp_ki_row_t *row = k->rows; row < k->end; row++) {
            if (tp_skew(row) != skew) {
                continue;
            }
            if (from == first) {
                tp_some(k, row, 0, first);
            }
            if (words > 0) {
                tp_words(wide, row, pairs, from, words);
            }
            tp_some(k, row, from + words, n - words);
        }
    }
}

// The words with columns of index, of the rows that begin `skew` bytes before a word.
static TP_APART void tp_list_update(const tp_step_t *k, uint32_t skew) {
    tp_word_t list[TP_LISTED];
    const tp_ki_index_t *index = k->index;
    bool wide = k->wide;
    size_t cols = k->cols, first = wide ? 0 : skew;
    size_t over = (cols - first) & (wide ? 1u : 3u), whole = cols - over;
    for (const tp_ki_row_t *row = k->rows; row < k->end && first + over > 0; row++) {
        if (tp_skew(row) == skew) {
            tp_some(k, row, 0, first);
            tp_some(k, row, whole, over);
        }
    }
    tp_lists_t lists = {.columns = index->columns,
        .end = index->columns + index->total,
        .x = k->x,
        .step = wide ? tp_ki_noise_step(16) << 14 : (uint32_t)first};
    while (lists.columns < lists.end && lists.end[-1] >= whole) {
        lists.end--;
    }
    while (lists.columns < lists.end && *lists.columns < first) {
        lists.columns++;
    }
    tp_list_t q = {.end = k->end,
        .skew = skew,
        .words = list,
        .r7 = 0xffff0000u,
        .singles_end = (const tp_single_t *)(const void *)(list + TP_LISTED),
        .signs = wide ? 0x80008000u : 0x80808080u,
        .bias = 0x80008000u,
        .clip = wide ? tp_clip_i16 : tp_clip_i8};
    while (lists.columns < lists.end) {
        lists.words = list;
        lists.singles = (uint8_t *)(list + TP_LISTED - 1u);
        if (wide) {
            tp_lists_i16(&lists);
        } else {
            tp_lists_i8(&lists);
        }
        tp_single_t *singles = (tp_single_t *)(void *)(lists.singles + 16);
        q.words_end = lists.words;
        q.singles = singles;
        q.shift = wide ? 16u : 8u;
        for (uint32_t s = q.shift; k->shifts >> s != 0; s++) {
            uint32_t down = 32u - s, step = tp_ki_noise_step(s) << down, mask = (1u << s) - 1u;
            if ((k->shifts >> s & 1u) == 0) {
                continue;
            }
            q.row = k->rows;
            if (wide) {
                tp_list_i16(&q);
                continue;
            }
            for (tp_word_t *word = list; word < lists.words; word++) {
                uint32_t noise = word->at * (step / 2u);
                word->noise = noise >> down | (noise + step) >> down << 16;
            }
            for (tp_single_t *one = singles; one < q.singles_end; one++) {
                one->noise = one->at / 2u * step;
            }
            q.shift = s;
            q.r7 = s - 8u;
            q.up = 24u - s;
            q.fields = (65535u - mask) * 0x10001u;
            q.lanes = (mask + 0x8000u) * 0x10001u;
            tp_list_i8(&q);
        }
    }
}

// Where a list is worth it, the rows whose words begin at an even column go by it.
static void tp_update(tp_step_t *k) {
    const tp_ki_index_t *index = k->index;
    bool wide = k->wide;
    size_t most =
        (wide ? 6u : 5u) - (k->end - k->rows < 4 ? 2u : 0); // a long list is for many rows
    bool listed = index != NULL && index->total * 8u < k->cols * most && k->cols >= 4u;
    uint32_t skews = 0;
    for (const tp_ki_row_t *row = k->rows; row < k->end; row++) {
        skews |= 1u << tp_skew(row);
        k->shifts |= 1u << row->shift;
    }
    for (uint32_t skew = 0; skews >> skew != 0; skew++) {
        if ((skews >> skew & 1u) == 0) {
            continue;
        }
        if (listed && (wide ? skew == 0 : (skew & 1u) == 0)) {
            tp_list_update(k, skew);
        } else {
            tp_all_update(k, skew);
        }
    }
}

void tp_ki_rows_update_i8(const tp_ki_row_t *rows, size_t n_rows, const int8_t *x, size_t cols,
    const tp_ki_index_t *index) {
    tp_step_t k = {rows, rows + n_rows, x, cols, index, 0, false};
    tp_update(&k);
}

void tp_ki_rows_update_i16(const tp_ki_row_t *rows, size_t n_rows, const int16_t *x, size_t cols,
    const tp_ki_index_t *index) {
    tp_step_t k = {rows, rows + n_rows, x, cols, index, 0, true};
    tp_update(&k);
}

#endif
