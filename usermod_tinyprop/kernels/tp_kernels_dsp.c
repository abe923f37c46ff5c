// Inner loops of integer training for cores with the DSP instructions (Cortex-M4, M7, M33): two
// products an instruction, four int8 or two int16 weights a word. Equal to tp_kernels_int.c bit
// for bit. Weights may begin anywhere: these cores load and store words at any address.
// Updates: tp_kernels_dsp_update.c.
#include "tp_kernels_int.h"

#if TP_KERNELS_DSP

#include "tp_kernels_dsp.h"

// The assembler keeps its lines.
// clang-format off

// --- The columns that are not zero ---

// The first of the columns r4, one behind the other in its halves, where the test does not give zero.
#define COLUMN_IF(test) \
    test "\n" \
    "it ne\n" \
    "strhne r4, [%[to]], #2\n" \
    "add r4, #0x00010001\n"
#define COLUMNS_I8(w) \
    COLUMN_IF("tst " w ", #0xff") \
    COLUMN_IF("tst " w ", #0xff00") \
    COLUMN_IF("tst " w ", #0xff0000") \
    COLUMN_IF("tst " w ", #0xff000000")
#define COLUMNS_I16(w) \
    COLUMN_IF("lsls r5, " w ", #16") \
    COLUMN_IF("lsrs r5, " w ", #16")
#define TWO_COLUMNS \
    "str r4, [%[to]], #4\n" \
    "add r4, #0x00020002\n"
// Zeros lie together, whole words of them; and so does what is not zero. Two words a turn.
#define INDEX(zeros, columns, skip, all) \
    "mov r4, #0x00010000\n" \
    "1:\n" \
    "ldrd r2, r3, [%[x]], #8\n" \
    zeros " r5, %[ones], r2\n" \
    zeros " r6, %[ones], r3\n" \
    "orrs r5, r6\n" \
    "bne 2f\n" \
    all all \
    "cmp %[x], %[end]\n" \
    "bne 1b\n" \
    "b 6f\n" \
    "2:\n" \
    "cbz r2, 3f\n" \
    columns("r2") \
    "b 4f\n" \
    "3: add r4, #" skip "\n" \
    "4:\n" \
    "cbz r3, 5f\n" \
    columns("r3") \
    "cmp %[x], %[end]\n" \
    "bne 1b\n" \
    "b 6f\n" \
    "5: add r4, #" skip "\n" \
    "cmp %[x], %[end]\n" \
    "bne 1b\n" \
    "6:\n"

// --- z = W * x ---

#define DOT_I8(sum, address, even, odd) \
    "ldr r12, " address "\n" \
    "sxtb16 lr, r12\n" \
    "sxtb16 r12, r12, ror #8\n" \
    "smlad " sum ", lr, " even ", " sum "\n" \
    "smlad " sum ", r12, " odd ", " sum "\n"
#define FOUR_DOTS_I8(even, odd) \
    DOT_I8("r5", "[r0, r2]", even, odd) \
    DOT_I8("r4", "[r0], #4", even, odd) \
    DOT_I8("r7", "[r1, r2]", even, odd) \
    DOT_I8("r6", "[r1], #4", even, odd)
#define EIGHT_COLUMNS_I8 \
    "ldm r3!, {r8-r11}\n" \
    FOUR_DOTS_I8("r8", "r9") \
    FOUR_DOTS_I8("r10", "r11")

// Four rows in one pass, which share x (two words for four columns).
typedef struct {
    const int8_t *w, *v; // rows 0 and 2; the others are cols further
    size_t cols;
    const uint32_t *x;
    const uint32_t *end, *eights, *all; // of x: 32 columns a turn, 8, the last 4
    int32_t *z;
} tp_dots_t;

__attribute__((naked, noipa)) static void tp_four_dots_i8(
    const tp_dots_t *q __attribute__((unused))) {
    __asm volatile(
        "push {r0, r4-r11, lr}\n"
        "ldr r12, [r0, #28]\n"
        "ldm r12, {r4-r7}\n"
        "add r12, r0, #16\n"
        "ldm r0, {r0-r3}\n"
        "ldm r12, {r8-r10}\n"
        "push {r8-r10}\n"
        "cmp r3, r8\n"
        "beq 2f\n"
        "1:\n"
        EIGHT_COLUMNS_I8 EIGHT_COLUMNS_I8 EIGHT_COLUMNS_I8 EIGHT_COLUMNS_I8
        "ldr r12, [sp]\n"
        "cmp r3, r12\n"
        "bne 1b\n"
        "2:\n"
        "ldr r12, [sp, #4]\n"
        "cmp r3, r12\n"
        "beq 4f\n"
        "3:\n"
        EIGHT_COLUMNS_I8
        "ldr r12, [sp, #4]\n"
        "cmp r3, r12\n"
        "bne 3b\n"
        "4:\n"
        "ldr r12, [sp, #8]\n"
        "cmp r3, r12\n"
        "beq 5f\n"
        "ldrd r8, r9, [r3]\n"
        FOUR_DOTS_I8("r8", "r9")
        "5:\n"
        "add sp, #12\n"
        "pop {r0}\n"
        "ldr r0, [r0, #28]\n"
        "stm r0, {r4-r7}\n"
        "pop {r4-r11, pc}\n");
}

// Two rows whose words are aligned: one load takes several.
#define WORD_I8(sum, w, even, odd) \
    "sxtb16 lr, " w "\n" \
    "sxtb16 " w ", " w ", ror #8\n" \
    "smlad " sum ", lr, " even ", " sum "\n" \
    "smlad " sum ", " w ", " odd ", " sum "\n"
#define TWO_ROWS_I8(w, v) \
    "ldm r2!, {r5-r8}\n" \
    WORD_I8("r3", w, "r5", "r6") \
    WORD_I8("r3", v, "r7", "r8") \
    "ldrd " w ", " v ", [r1], #8\n" \
    WORD_I8("r4", w, "r5", "r6") \
    WORD_I8("r4", v, "r7", "r8")
#define SIXTEEN_COLUMNS_I8 \
    "ldm r0!, {r9-r12}\n" \
    TWO_ROWS_I8("r9", "r10") \
    TWO_ROWS_I8("r11", "r12")
#define UNTIL(end) \
    "ldr lr, [sp, #" end "]\n" \
    "cmp r2, lr\n"

// Pairs of rows, one after the other.
typedef struct {
    const int8_t *w;
    size_t cols, left; // from a row to the next one, after its columns in x
    const uint32_t *x;
    const uint32_t *many, *sixteens, *all; // ends of x: 64 columns a turn, 16, 4
    int32_t *z, *end;
} tp_pairs_t;

__attribute__((naked, noipa)) static void tp_pairs_of_dots_i8(
    const tp_pairs_t *q __attribute__((unused))) {
    __asm volatile(
        "push {r4-r11, lr}\n"
        "ldm r0, {r0-r8}\n"
        "push {r0-r8}\n"
        "1:\n"
        "ldr lr, [sp, #4]\n"
        "add r1, r0, lr\n"
        "ldr lr, [sp, #28]\n"
        "ldrd r3, r4, [lr]\n"
        "ldr r2, [sp, #12]\n"
        UNTIL("16")
        "beq 3f\n"
        "2:\n"
        SIXTEEN_COLUMNS_I8 SIXTEEN_COLUMNS_I8 SIXTEEN_COLUMNS_I8 SIXTEEN_COLUMNS_I8
        UNTIL("16")
        "bne 2b\n"
        "3:\n"
        UNTIL("20")
        "beq 5f\n"
        "4:\n"
        SIXTEEN_COLUMNS_I8
        UNTIL("20")
        "bne 4b\n"
        "5:\n"
        UNTIL("24")
        "beq 7f\n"
        "6:\n"
        "ldm r2!, {r5, r6}\n"
        "ldr r9, [r0], #4\n"
        "ldr r10, [r1], #4\n"
        WORD_I8("r3", "r9", "r5", "r6")
        WORD_I8("r4", "r10", "r5", "r6")
        UNTIL("24")
        "bne 6b\n"
        "7:\n"
        "ldr lr, [sp, #8]\n"
        "add r0, r1, lr\n"
        "ldrd r5, r6, [sp, #28]\n"
        "strd r3, r4, [r5], #8\n"
        "str r5, [sp, #28]\n"
        "cmp r5, r6\n"
        "bne 1b\n"
        "add sp, #36\n"
        "pop {r4-r11, pc}\n");
}

#define TWO_DOTS_I16 \
    "ldr %[t], [%[x]], #4\n" \
    "ldr %[u], [%[w], %[cols]]\n" \
    "smlald %[c], %[d], %[u], %[t]\n" \
    "ldr %[u], [%[w]], #4\n" \
    "smlald %[a], %[b], %[u], %[t]\n"

// Two rows: eights of columns, at least one.
static void tp_two_dots_i16(int64_t sums[2], const int16_t *w, const int16_t *x, size_t cols,
    size_t eights) {
    uint32_t a = 0, b = 0, c = 0, d = 0, t, u;
    __asm volatile(
        "1:\n"
        TWO_DOTS_I16 TWO_DOTS_I16 TWO_DOTS_I16 TWO_DOTS_I16
        LOOP
        : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [w] "+r"(w), [x] "+r"(x),
          [n] "+r"(eights), [t] "=&r"(t), [u] "=&r"(u)
        : [cols] "r"(2u * cols)
        : "cc", "memory");
    sums[0] = (int64_t)((uint64_t)b << 32 | a);
    sums[1] = (int64_t)((uint64_t)d << 32 | c);
}

#define ROW_I16(row, sum, x, y) \
    "ldrd r11, r12, [" row "], #8\n" \
    "smlald " sum ", r11, " x "\n" \
    "smlald " sum ", r12, " y "\n"
#define EIGHT_COLUMNS_I16 \
    "ldm r2!, {r7-r10}\n" \
    ROW_I16("r0", "r3, r4", "r7", "r8") \
    ROW_I16("r1", "r5, r6", "r7", "r8") \
    ROW_I16("r0", "r3, r4", "r9", "r10") \
    ROW_I16("r1", "r5, r6", "r9", "r10")

// Pairs of rows, one after the other; all words are aligned.
typedef struct {
    const int16_t *w;
    size_t bytes; // of a row
    const int16_t *x;
    const int16_t *many, *eights, *all; // ends of x: 32 columns a turn, 8, 2
    int32_t *z, *end;
    uint32_t shift, rest; // 32 together
} tp_pairs_i16_t;

__attribute__((naked, noipa)) static void tp_pairs_of_dots_i16(
    const tp_pairs_i16_t *q __attribute__((unused))) {
    __asm volatile(
        "push {r4-r11, lr}\n"
        "ldm r0, {r0-r9}\n"
        "push {r0-r9}\n"
        "1:\n"
        "ldrd r1, r2, [sp, #4]\n"
        "add r1, r0\n"
        "movs r3, #0\n"
        "movs r4, #0\n"
        "movs r5, #0\n"
        "movs r6, #0\n"
        UNTIL("12")
        "beq 3f\n"
        "2:\n"
        EIGHT_COLUMNS_I16 EIGHT_COLUMNS_I16 EIGHT_COLUMNS_I16 EIGHT_COLUMNS_I16
        "cmp r2, lr\n"
        "bne 2b\n"
        "3:\n"
        UNTIL("16")
        "beq 5f\n"
        "4:\n"
        EIGHT_COLUMNS_I16
        "cmp r2, lr\n"
        "bne 4b\n"
        "5:\n"
        UNTIL("20")
        "beq 7f\n"
        "6:\n"
        "ldr r7, [r2], #4\n"
        "ldr r11, [r0], #4\n"
        "ldr r12, [r1], #4\n"
        "smlald r3, r4, r11, r7\n"
        "smlald r5, r6, r12, r7\n"
        "cmp r2, lr\n"
        "bne 6b\n"
        "7:\n"
        "ldrd r7, r8, [sp, #32]\n"
        "lsr r3, r3, r7\n"
        "lsl r4, r4, r8\n"
        "orr r3, r4\n"
        "lsr r5, r5, r7\n"
        "lsl r6, r6, r8\n"
        "orr r4, r5, r6\n"
        "ldrd r7, r8, [sp, #24]\n"
        "strd r3, r4, [r7], #8\n"
        "str r7, [sp, #24]\n"
        "mov r0, r1\n"
        "cmp r7, r8\n"
        "bne 1b\n"
        "add sp, #40\n"
        "pop {r4-r11, pc}\n");
}

// --- dx = dx + g * w ---

// Four columns, r8-r11, of a row; its g is one half of a register.
#define DX_I8(w, g, half) \
    "ldr r12, [" w "], #4\n" \
    "sxtb16 lr, r12\n" \
    "sxtb16 r12, r12, ror #8\n" \
    "smlab" half " r8, lr, " g ", r8\n" \
    "smlab" half " r9, r12, " g ", r9\n" \
    "smlat" half " r10, lr, " g ", r10\n" \
    "smlat" half " r11, r12, " g ", r11\n"
#define TWO_DX_I16(w, g, half, a, b) \
    "ldr r12, [" w "], #4\n" \
    "smulb" half " lr, r12, " g "\n" \
    "add " a ", " a ", lr, asr #8\n" \
    "smult" half " lr, r12, " g "\n" \
    "add " b ", " b ", lr, asr #8\n"
#define DX_I16(w, g, half) \
    TWO_DX_I16(w, g, half, "r8", "r9") \
    TWO_DX_I16(w, g, half, "r10", "r11")

typedef struct {
    int32_t *dx;
    const void *w[4];
    uint32_t g[2]; // of two rows each
    int32_t *end;
} tp_dx_t;

// At least four columns.
#define TP_FOUR_DX(name, row) \
    __attribute__((naked, noipa)) static void tp_four_dx_##name( \
        const tp_dx_t *q __attribute__((unused))) { \
        __asm volatile( \
            "push {r4-r11, lr}\n" \
            "ldm r0, {r0-r7}\n" \
            "1:\n" \
            "ldm r0, {r8-r11}\n" \
            row("r1", "r5", "b") \
            row("r2", "r5", "t") \
            row("r3", "r6", "b") \
            row("r4", "r6", "t") \
            "stm r0!, {r8-r11}\n" \
            "cmp r0, r7\n" \
            "bne 1b\n" \
            "pop {r4-r11, pc}\n"); \
    }
TP_FOUR_DX(i8, DX_I8)
TP_FOUR_DX(i16, DX_I16)

// clang-format on

#define TP_INDEX(name, type, one, code) \
    uint32_t tp_ki_index_##name(uint16_t *columns, const type *x, size_t n) { \
        uint16_t *to = columns; \
        size_t i = ((uintptr_t)x & 3u) == 0 ? n & ~(8u / sizeof(type) - 1u) : 0; \
        const type *next = x; \
        if (i > 0) { \
            __asm volatile(code \
                : [to] "+r"(to), [x] "+r"(next) \
                : [end] "r"(x + i), [ones] "r"(one) \
                : "r2", "r3", "r4", "r5", "r6", "cc", "memory"); \
        } \
        for (; i < n; i++) { \
            *to = (uint16_t)i; \
            to += x[i] != 0; \
        } \
        return (uint32_t)(to - columns); \
    }

TP_INDEX(i8, int8_t, 0x01010101u,
    INDEX("uqsub8", COLUMNS_I8, "0x00040004", TWO_COLUMNS TWO_COLUMNS))
TP_INDEX(i16, int16_t, 0x00010001u, INDEX("uqsub16", COLUMNS_I16, "0x00020002", TWO_COLUMNS))

void tp_ki_matvec_i8(int32_t *z, const int8_t *w, const int8_t *x, size_t rows, size_t cols,
    const tp_ki_index_t *index) {
    uint32_t pairs[TP_BLOCK / 2u];
    index = tp_worth(index, cols, 3);
    memset(z, 0, rows * sizeof(*z));
    if (index != NULL) {
        size_t o = 0;
        for (; o + 4u <= rows; o += 4u, w += 4u * cols) {
            int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
            for (uint32_t j = 0; j < index->total; j++) {
                const int8_t *v = w + index->columns[j];
                int32_t value = x[index->columns[j]];
                s0 += v[0] * value;
                s1 += v[cols] * value;
                s2 += v[2u * cols] * value;
                s3 += v[3u * cols] * value;
            }
            z[o] = s0, z[o + 1u] = s1, z[o + 2u] = s2, z[o + 3u] = s3;
        }
        for (; o < rows; o++, w += cols) {
            for (uint32_t j = 0; j < index->total; j++) {
                z[o] += w[index->columns[j]] * x[index->columns[j]];
            }
        }
        return;
    }
    for (size_t from = 0; from < cols; from += TP_BLOCK) {
        size_t n = tp_block(cols - from), fours = n / 4u, o = 0;
        const int8_t *row = w + from;
        tp_unpack(pairs, x + from, fours, false);
        if (fours > 0 && rows > 1u && (((uintptr_t)w | cols) & 3u) == 0) {
            o = rows & ~(size_t)1u;
            tp_pairs_t q = {row, cols, cols - n, pairs, pairs + (fours & ~(size_t)15u) * 2u,
                pairs + (fours & ~(size_t)3u) * 2u, pairs + fours * 2u, z, z + o};
            tp_pairs_of_dots_i8(&q);
            row += o * cols;
        }
        for (; fours > 0 && o + 4u <= rows; o += 4u, row += 4u * cols) {
            tp_dots_t q = {row, row + 2u * cols, cols, pairs, pairs + (fours & ~(size_t)7u) * 2u,
                pairs + (fours & ~(size_t)1u) * 2u, pairs + fours * 2u, z + o};
            tp_four_dots_i8(&q);
        }
        for (; o < rows; o++, row += cols) {
            int32_t sum = z[o];
            for (size_t i = 0; i < fours; i++) {
                uint32_t v = tp_word(row + 4u * i);
                sum = __smlad(__sxtb16(v), pairs[2u * i], sum);
                sum = __smlad(__sxtb16(v >> 8 | v << 24), pairs[2u * i + 1u], sum);
            }
            z[o] = sum;
        }
        row = w + from;
        for (o = 0; o < rows && (n & 3u) != 0; o++, row += cols) {
            for (size_t i = 4u * fours; i < n; i++) {
                z[o] += row[i] * x[from + i];
            }
        }
    }
}

void tp_ki_matvec_i16(int32_t *z, const int16_t *w, const int16_t *x, size_t rows, size_t cols,
    uint32_t shift, const tp_ki_index_t *index) {
    size_t eights = cols / 8u, o = 0;
    index = tp_worth(index, cols, 2);
    if (index == NULL && rows > 1u && (((uintptr_t)w | (uintptr_t)x | 2u * cols) & 3u) == 0) {
        o = rows & ~(size_t)1u;
        tp_pairs_i16_t q = {w, 2u * cols, x, x + (cols & ~(size_t)31u), x + 8u * eights, x + cols,
            z, z + o, shift, 32u - shift};
        tp_pairs_of_dots_i16(&q);
        w += o * cols;
    }
    for (; index == NULL && eights > 0 && o + 2u <= rows; o += 2u, w += 2u * cols) {
        int64_t sums[2];
        tp_two_dots_i16(sums, w, x, cols, eights);
        for (size_t i = 8u * eights; i < cols; i++) {
            sums[0] += w[i] * x[i];
            sums[1] += w[cols + i] * x[i];
        }
        z[o] = (int32_t)(sums[0] >> shift);
        z[o + 1u] = (int32_t)(sums[1] >> shift);
    }
    for (; index != NULL && o + 2u <= rows; o += 2u, w += 2u * cols) {
        int64_t s0 = 0, s1 = 0;
        for (uint32_t j = 0; j < index->total; j++) {
            uint32_t i = index->columns[j];
            s0 += w[i] * x[i];
            s1 += w[cols + i] * x[i];
        }
        z[o] = (int32_t)(s0 >> shift);
        z[o + 1u] = (int32_t)(s1 >> shift);
    }
    size_t n = index != NULL ? index->total : cols;
    for (; o < rows; o++, w += cols) {
        int64_t sum = 0;
        for (size_t j = 0; j < n; j++) {
            size_t i = index != NULL ? index->columns[j] : j;
            sum += w[i] * x[i];
        }
        z[o] = (int32_t)(sum >> shift);
    }
}

// A row that is not there counts with g = 0.
#define TP_DENSE_DX(name) \
    size_t tp_ki_dense_dx_##name(int32_t *dx, const tp_ki_row_t *rows, size_t n_rows, \
        size_t cols) { \
        size_t n = cols & ~(size_t)3u; \
        tp_dx_t q = {.dx = dx, .end = dx + n}; \
        for (size_t o = 0; o < 4u; o++) { \
            const tp_ki_row_t *row = o < n_rows ? &rows[o] : rows; \
            uint32_t g = o < n_rows ? (uint32_t)row->g & 65535u : 0; \
            q.w[o] = row->w; \
            q.g[o / 2u] |= g << (16u * (o & 1u)); \
        } \
        if (n > 0) { \
            tp_four_dx_##name(&q); \
        } \
        return n; \
    }

TP_DENSE_DX(i8)
TP_DENSE_DX(i16)

#endif
