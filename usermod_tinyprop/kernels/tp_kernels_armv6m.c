// Inner loops of integer training for the Cortex-M0 and M0+ (RP2040): one multiplication a cycle,
// two cycles a load, eight registers. Equal to tp_kernels_int.c bit for bit. Products of one
// column with four rows share the input. Updates: tp_kernels_armv6m_update.c.
#include "tp_kernels_int.h"

#if TP_KERNELS_ARMV6M

#include <string.h>

#include "../core/tp.h"
#include "tp_kernels_armv6m.h"

// Inputs that are not zero, at a time: those of most images. Rows, where there are more.
#define TP_TERMS 224u
#define TP_SUMS 64u

// clang-format off

// Images: most words of four pixels are 0. Returns the largest value, and above it where the columns
// end, each of which moves on by `step` bytes.
#define PIXEL(store, at) \
    "uxtb r7, r6\n" "muls r7, r3\n" "add r7, r9\n" "lsrs r7, r4\n" \
    store " r7, [r0, #" at "]\n" \
    "beq 1f\n" "strh r2, [r5]\n" "add r5, r11\n" \
    "cmp r7, r8\n" "bls 1f\n" "mov r8, r7\n" \
    "1:\n" \
    "lsrs r6, r6, #8\n" "adds r2, #1\n"
#define TP_PIXELS(name, nothing, store, second, third, fourth, bytes) \
    TP_NAKED static uint64_t name(void *out, const void *x, const void *end, \
        const tp_ki_scale_t *by, uint16_t *columns, uint32_t step) { \
        __asm volatile( \
            SAVE \
            "mov r12, r2\n" \
            "ldm r3!, {r4-r6}\n" \
            "mov r3, r4\n" "mov r9, r5\n" "mov r4, r6\n" \
            "ldr r5, [sp, #40]\n" "ldr r6, [sp, #44]\n" "mov r11, r6\n" \
            "movs r2, #0\n" "mov r8, r2\n" \
            "2:\n" \
            "cmp r1, r12\n" "beq 4f\n" \
            "3:\n" \
            "ldm r1!, {r6}\n" "cmp r6, #0\n" "bne 5f\n" \
            "adds r2, #4\n" \
            nothing \
            "cmp r1, r12\n" "bne 3b\n" \
            "4:\n" \
            "mov r0, r8\n" \
            "str r5, [sp]\n" /* where r1 is taken from */ \
            RESTORE \
            "5:\n" \
            PIXEL(store, "0") \
            PIXEL(store, second) \
            PIXEL(store, third) \
            PIXEL(store, fourth) \
            "adds r0, #" bytes "\n" \
            "b 2b\n"); \
    }
TP_PIXELS(tp_pixels_i8, "stm r0!, {r6}\n", "strb", "1", "2", "3", "4")
TP_PIXELS(tp_pixels_i16, "movs r7, #0\n" "stm r0!, {r6, r7}\n", "strh", "2", "4", "6", "8")

// Columns of what is not 0, four at a time; returns where they end. x and end: multiples of 4.
#define FOUND(test) \
    test \
    "beq 4f\n" "strh r3, [r0]\n" "adds r0, #2\n" \
    "4:\n" \
    "adds r3, #1\n"
#define TP_INDEX(name, load, found) \
    TP_NAKED static uint16_t *name(uint16_t *columns, const void *x, const void *end) { \
        __asm volatile( \
            ".syntax unified\n" \
            "push {r4-r6, lr}\n" "movs r3, #0\n" \
            "1:\n" \
            "cmp r1, r2\n" "bhs 3f\n" \
            "2:\n" \
            load \
            "bne 5f\n" "adds r3, #4\n" "cmp r1, r2\n" "blo 2b\n" \
            "3:\n" \
            "pop {r4-r6, pc}\n" \
            "5:\n" \
            found \
            "b 1b\n"); \
    }
TP_INDEX(tp_index_i8, "ldm r1!, {r4}\n" "cmp r4, #0\n",
    FOUND("lsls r6, r4, #24\n") FOUND("lsls r6, r4, #16\n" "lsrs r6, r6, #24\n")
    FOUND("lsls r6, r4, #8\n" "lsrs r6, r6, #24\n") FOUND("lsrs r6, r4, #24\n"))
TP_INDEX(tp_index_i16, "ldm r1!, {r4, r5}\n" "movs r6, r4\n" "orrs r6, r5\n",
    FOUND("lsls r6, r4, #16\n") FOUND("lsrs r6, r4, #16\n")
    FOUND("lsls r6, r5, #16\n") FOUND("lsrs r6, r5, #16\n"))

// Four sums where r0 pointed to.
#define SUMS "ldr r0, [sp]\n" "mov r4, r8\n" "mov r5, r9\n" "mov r6, r10\n" "mov r7, r11\n" \
    "stm r0!, {r4-r7}\n"

// They are added to four of 64 bits there.
#define MORE(sum) \
    "ldr r2, [r0]\n" "ldr r3, [r0, #4]\n" \
    "mov r4, " sum "\n" "asrs r5, r4, #31\n" "adds r2, r2, r4\n" "adcs r3, r5\n" \
    "stm r0!, {r2, r3}\n"
#define MORE_SUMS "ldr r0, [sp]\n" MORE("r8") MORE("r9") MORE("r10") MORE("r11")

// sums[r] = the first `bytes` of row r of w (rows stride bytes long) times x; bytes > 0.
#define TERM(load, row, sum) load " r0, [" row ", r3]\n" "muls r0, r7\n" "add " sum ", r0\n"
#define COLUMN(load, size) \
    load " r7, [r2, r3]\n" \
    TERM(load, "r1", "r8") TERM(load, "r4", "r9") TERM(load, "r5", "r10") TERM(load, "r6", "r11") \
    "adds r3, #" size "\n"
#define TP_FOUR_DOTS(name, type, sum_type, load, size, odd, sums_out) \
    TP_NAKED static void name(sum_type sums[4], const type *w, const type *x, \
        size_t stride, size_t bytes) { \
        __asm volatile( \
            SAVE \
            "ldr r0, [sp, #40]\n" \
            "mov r12, r0\n" \
            "adds r4, r1, r3\n" \
            "adds r5, r4, r3\n" \
            "adds r6, r5, r3\n" \
            ZERO \
            "movs r3, #0\n" \
            "movs r7, #" odd "\n" \
            "tst r0, r7\n" \
            "bne 2f\n" \
            "1:\n" \
            COLUMN(load, size) \
            "2:\n" \
            COLUMN(load, size) \
            "cmp r3, r12\n" \
            "bne 1b\n" \
            sums_out \
            RESTORE); \
    }
TP_FOUR_DOTS(tp_four_dots_i8, int8_t, int32_t, "ldrsb", "1", "1", SUMS)
TP_FOUR_DOTS(tp_four_dots_i16, int16_t, int64_t, "ldrsh", "2", "2", MORE_SUMS)

// An input that is not zero: where its weight lies in a row, in bytes.
typedef struct {
    uint32_t at;
    int32_t x;
} tp_term_t;

// z[r] = row r of w times the terms from .. to, at least one, for all rows up to end, four at a time;
// eight terms in a turn, the first turn from its middle. 26: bytes of the code of a term.
#define AT(load, row, sum) load " r7, [" row ", r5]\n" "muls r7, r6\n" "add " sum ", r7\n"
#define NEXT(load) \
    "ldm r3!, {r5, r6}\n" \
    AT(load, "r0", "r8") \
    AT(load, "r1", "r9") \
    AT(load, "r4", "r10") \
    AT(load, "r2", "r11")
#define TP_ROWS_TERMS(name, load) \
    TP_HOT TP_NAKED static void name(int32_t *z, const void *w, size_t stride, \
        const tp_term_t *from, const tp_term_t *to, const int32_t *end) { \
        __asm volatile( \
            SAVE \
            "ldr r5, [sp, #40]\n" \
            "mov r12, r5\n" \
            "mov lr, r2\n" \
            "subs r5, r3, r5\n" \
            "movs r6, #56\n" \
            "ands r5, r6\n" /* terms that are missing in the first turn, times 8 */ \
            "lsrs r5, r5, #3\n" \
            "movs r6, #26\n" \
            "muls r5, r6\n" \
            "push {r3, r5}\n" \
            "1:\n" \
            ZERO \
            "mov r2, lr\n" \
            "mov r0, r1\n" \
            "adds r1, r0, r2\n" \
            "adds r4, r1, r2\n" \
            "adds r2, r4, r2\n" \
            "ldr r3, [sp]\n" \
            "ldr r5, [sp, #4]\n" \
            "add pc, r5\n" \
            "nop\n" \
            "2:\n" \
            NEXT(load) NEXT(load) NEXT(load) NEXT(load) \
            NEXT(load) NEXT(load) NEXT(load) NEXT(load) \
            "cmp r3, r12\n" \
            "bne 2b\n" \
            "mov r1, r2\n" \
            "add r1, lr\n" \
            "ldr r2, [sp, #8]\n" \
            "mov r4, r8\n" "mov r5, r9\n" "mov r6, r10\n" "mov r7, r11\n" \
            "stm r2!, {r4-r7}\n" \
            "str r2, [sp, #8]\n" \
            "ldr r3, [sp, #52]\n" \
            "cmp r2, r3\n" \
            "beq 3f\n" \
            "b 1b\n" \
            "3:\n" \
            "add sp, #8\n" \
            RESTORE); \
    }
TP_ROWS_TERMS(tp_rows_terms_i8, "ldrsb")
TP_ROWS_TERMS(tp_rows_terms_i16, "ldrsh")

// The terms of columns .. end, at least one; returns where they end. Of int16 the sum of |x| stays
// below 2^16, so that the sums of their products fit 32 bits.
#define TP_LIST_TERMS(name, scale, load, room) \
    TP_NAKED static tp_term_t *name(tp_term_t *to, const uint16_t *columns, const uint16_t *end, \
        const void *x) { \
        __asm volatile( \
            ".syntax unified\n" \
            "push {r4-r7, lr}\n" "movs r6, #1\n" "lsls r6, r6, #16\n" "subs r6, #1\n" \
            "1:\n" \
            "ldrh r4, [r1]\n" scale load " r5, [r3, r4]\n" \
            room \
            "stm r0!, {r4, r5}\n" "adds r1, #2\n" "cmp r1, r2\n" "blo 1b\n" \
            "2:\n" \
            "pop {r4-r7, pc}\n"); \
    }
TP_LIST_TERMS(tp_terms_i8, "", "ldrsb", "")
TP_LIST_TERMS(tp_terms_i16, "lsls r4, r4, #1\n", "ldrsh",
    "asrs r7, r5, #31\n" "adds r6, r6, r7\n" "eors r7, r5\n" "subs r6, r6, r7\n" "bmi 2f\n")

// As core/tp_math.c has it for other cores.
TP_NAKED uint32_t tp_rng_next(uint32_t rng[4]) {
    __asm volatile(
        ".syntax unified\n"
        "push {r4-r6}\n"
        "ldm r0!, {r1-r4}\n" "subs r0, #16\n"
        "eors r3, r1\n" "eors r4, r2\n" "eors r1, r4\n"
        "movs r6, #21\n" "rors r4, r6\n"
        "lsls r5, r2, #2\n" "adds r5, r5, r2\n"
        "lsls r6, r2, #9\n" "eors r2, r3\n" "eors r3, r6\n"
        "stm r0!, {r1-r4}\n"
        "movs r1, #25\n" "rors r5, r1\n"
        "lsls r0, r5, #3\n" "adds r0, r0, r5\n"
        "pop {r4-r6}\n"
        "bx lr\n");
}

// dx += g0 * w0 + g1 * w1 over `bytes` of the rows, at least one.
typedef struct {
    const void *w0, *w1;
    int32_t g0, g1;
    size_t bytes;
} tp_two_t;

#define TP_TWO_DX(name, load, size, shift) \
    TP_NAKED static void name(int32_t *dx, const tp_two_t *q) { \
        __asm volatile( \
            ".syntax unified\n" \
            "push {r4-r7, lr}\n" \
            "ldm r1!, {r2-r6}\n" \
            "mov r12, r6\n" \
            "mov r1, r2\n" "mov r2, r3\n" \
            "movs r3, #0\n" \
            "1:\n" \
            "ldr r6, [r0]\n" \
            load " r7, [r1, r3]\n" \
            "muls r7, r4\n" \
            shift \
            "adds r6, r6, r7\n" \
            load " r7, [r2, r3]\n" \
            "muls r7, r5\n" \
            shift \
            "adds r6, r6, r7\n" \
            "stm r0!, {r6}\n" \
            "adds r3, #" size "\n" \
            "cmp r3, r12\n" \
            "bne 1b\n" \
            "pop {r4-r7, pc}\n"); \
    }
TP_TWO_DX(tp_two_dx_i8, "ldrsb", "1", "")
TP_TWO_DX(tp_two_dx_i16, "ldrsh", "2", "asrs r7, r7, #8\n")

// One output after the other; ends before one that is too large, with z there.
typedef struct {
    const int32_t *z, *b;
    void *out;
    const int32_t *end;
    uint32_t peak;
    int32_t half_b, half, limit;
    uint32_t shifts; // of b down and up, of the sum down and up, a byte each
    uint32_t room;   // for b
    uint32_t relu;   // all bits
    uint32_t bytes;
} tp_outputs_t;

TP_NAKED static void tp_outputs(tp_outputs_t *q) {
    __asm volatile(
        SAVE
        "mov r7, r0\n"
        "ldm r7!, {r0-r5}\n" "mov r11, r3\n" "mov r8, r4\n" "mov r9, r5\n"
        "ldm r7!, {r3-r5}\n" "mov r10, r3\n" "mov r12, r4\n" "mov lr, r5\n"
        "ldm r7!, {r3-r5}\n" "push {r3-r5}\n"
        "1:\n"
        "ldm r0!, {r3}\n" "ldm r1!, {r4}\n"
        "movs r7, #1\n" "lsls r7, r7, #28\n"
        "adds r5, r3, r7\n" "lsls r7, r7, #1\n" "cmp r5, r7\n" "bhi 8f\n"
        "ldr r7, [sp]\n"
        "adds r5, r4, r7\n" "lsls r7, r7, #1\n" "cmp r5, r7\n" "bhi 8f\n"
        "mov r6, lr\n"
        "add r4, r9\n" "asrs r4, r6\n" "lsrs r6, r6, #8\n" "lsls r4, r6\n" "lsrs r6, r6, #8\n"
        "adds r3, r3, r4\n"
        "ldr r4, [sp, #4]\n" "asrs r5, r3, #31\n" "ands r4, r5\n" "bics r3, r4\n"
        "asrs r5, r3, #31\n" "adds r4, r3, r5\n" "eors r4, r5\n" // |v|
        "cmp r4, r8\n" "bls 2f\n" "mov r8, r4\n"
        "2:\n"
        "add r3, r10\n" "asrs r3, r6\n" "lsrs r6, r6, #8\n"
        "3:\n"
        "mov r4, r12\n" "cmp r3, r4\n" "ble 4f\n" "mov r3, r4\n"
        "4:\n"
        "negs r4, r4\n" "cmp r3, r4\n" "bge 5f\n" "mov r3, r4\n"
        "5:\n"
        "cmp r6, #0\n" "bne 7f\n"
        "ldr r7, [sp, #8]\n" "cmp r7, #2\n" "beq 6f\n" "bhi 9f\n"
        "strb r3, [r2]\n"
        "10:\n"
        "adds r2, r2, r7\n" "cmp r0, r11\n" "bne 1b\n"
        "b 11f\n"
        "6:\n"
        "strh r3, [r2]\n" "b 10b\n"
        "7:\n"
        "lsls r3, r6\n" "movs r6, #0\n" "b 3b\n"
        "9:\n"
        "str r3, [r2]\n" "b 10b\n"
        "8:\n"
        "subs r0, #4\n"
        "11:\n"
        "add sp, #12\n" "ldr r7, [sp]\n" "mov r4, r8\n"
        "str r0, [r7]\n" "str r4, [r7, #16]\n"
        RESTORE);
}

// The usual ones of a ReLU; ends also before a z that is larger than a b may be.
#define TP_RELU_OUTPUTS(name, store, size) \
    TP_NAKED static void name(tp_outputs_t *q) { \
        __asm volatile( \
            SAVE \
            "mov r7, r0\n" \
            "ldm r7!, {r0-r5}\n" "mov r11, r3\n" "mov r8, r4\n" "mov r9, r5\n" \
            "ldm r7!, {r3-r6}\n" "mov r10, r3\n" "mov r12, r4\n" "mov lr, r5\n" \
            "push {r6}\n" \
            "1:\n" \
            "ldm r0!, {r3}\n" "ldm r1!, {r4}\n" \
            "ldr r7, [sp]\n" \
            "adds r5, r3, r7\n" "adds r6, r4, r7\n" "orrs r5, r6\n" "lsls r7, r7, #1\n" \
            "cmp r5, r7\n" "bhs 5f\n" \
            "mov r6, lr\n" \
            "add r4, r9\n" "asrs r4, r6\n" "lsrs r6, r6, #8\n" "lsls r4, r6\n" \
            "adds r3, r3, r4\n" "ble 4f\n" \
            "cmp r3, r8\n" "bls 2f\n" "mov r8, r3\n" \
            "2:\n" \
            "lsrs r6, r6, #8\n" "add r3, r10\n" "asrs r3, r6\n" \
            "mov r4, r12\n" "cmp r3, r4\n" "ble 3f\n" "mov r3, r4\n" \
            "3:\n" \
            store " r3, [r2]\n" "adds r2, #" size "\n" \
            "cmp r0, r11\n" "bne 1b\n" \
            "b 6f\n" \
            "4:\n" \
            "movs r3, #0\n" "b 3b\n" \
            "5:\n" \
            "subs r0, #4\n" "subs r1, #4\n" \
            "6:\n" \
            "add sp, #4\n" "ldr r7, [sp]\n" "mov r4, r8\n" \
            "str r4, [r7, #16]\n" "stm r7!, {r0-r2}\n" \
            RESTORE); \
    }
TP_RELU_OUTPUTS(tp_relu_outputs_i8, "strb", "1")
TP_RELU_OUTPUTS(tp_relu_outputs_i16, "strh", "2")

// clang-format on

size_t tp_ki_finish(void *out, size_t bytes, const int32_t *z, const int32_t *b, size_t n,
    const tp_ki_finish_t *by, uint32_t *most) {
    int32_t up = by->up > 0 ? by->up : 0, down_b = up - by->up;
    int32_t down = by->down > 0 ? by->down : 0, again = down - by->down;
    tp_outputs_t q = {z, b, out, z + n, *most, (1 << down_b) >> 1, (1 << down) >> 1, by->limit,
        (uint32_t)(down_b | up << 8 | down << 16 | again << 24), 1u << (28 - up),
        by->relu ? UINT32_MAX : 0, bytes};
    if (n > 0 && by->relu && again == 0 && bytes < 4u) {
        (bytes == 1u ? tp_relu_outputs_i8 : tp_relu_outputs_i16)(&q);
    }
    if (q.z != q.end) {
        tp_outputs(&q);
    }
    *most = q.peak;
    return (size_t)(q.z - z);
}

uint32_t tp_ki_pixels(void *out, bool wide, const void *x, size_t fours, const tp_ki_scale_t *by,
    uint16_t **columns) {
    const uint8_t *end = (const uint8_t *)x + 4u * fours;
    uint16_t unused, *to = columns != NULL ? *columns : &unused;
    uint32_t step = columns != NULL ? sizeof(*to) : 0;
    uint64_t r =
        wide ? tp_pixels_i16(out, x, end, by, to, step) : tp_pixels_i8(out, x, end, by, to, step);
    if (columns != NULL) {
        *columns = (uint16_t *)(uintptr_t)(uint32_t)(r >> 32);
    }
    return (uint32_t)r;
}

#define TP_KI_INDEX(name, type) \
    uint32_t tp_ki_index_##name(uint16_t *columns, const type *x, size_t n) { \
        size_t done = ((uintptr_t)x & 3u) == 0 ? n & ~(size_t)3u : 0; \
        uint16_t *to = tp_index_##name(columns, x, x + done); \
        for (; done < n; done++) { \
            *to = (uint16_t)done; \
            to += x[done] != 0; \
        } \
        return (uint32_t)(to - columns); \
    }

TP_KI_INDEX(i8, int8_t)
TP_KI_INDEX(i16, int16_t)

// floor(sum * 2^-shift), which fits.
static inline int32_t tp_shifted(int64_t sum, uint32_t shift) {
    uint32_t high = (uint32_t)(sum >> 32), low = (uint32_t)sum >> shift;
    return (int32_t)(shift > 0 ? low | high << (32u - shift) : low);
}

// z of rows, at least four, from a list of terms; the last four may overlap those before.
static void tp_rows_terms(bool wide, int32_t *z, const uint8_t *w, size_t rows, size_t stride,
    const tp_term_t *from, const tp_term_t *to) {
    for (size_t first = 0, n = rows & ~(size_t)3u; first < rows; first += n) {
        if (first > 0) {
            first = rows - 4u;
            n = 4u;
        }
        const uint8_t *row = w + first * stride;
        if (wide) {
            tp_rows_terms_i16(z + first, row, stride, from, to, z + first + n);
        } else {
            tp_rows_terms_i8(z + first, row, stride, from, to, z + first + n);
        }
    }
}

static tp_term_t *tp_terms(bool wide, tp_term_t *to, const uint16_t *columns, const uint16_t *end,
    const void *x) {
    end = (size_t)(end - columns) > TP_TERMS ? columns + TP_TERMS : end;
    return wide ? tp_terms_i16(to, columns, end, x) : tp_terms_i8(to, columns, end, x);
}

// Over an index of at least one column, at least four rows.
static TP_APART void tp_index_matvec(bool wide, int32_t *z, const uint8_t *w, const void *x,
    size_t rows, size_t stride, uint32_t shift, const tp_ki_index_t *index) {
    tp_term_t terms[TP_TERMS];
    const uint16_t *begin = index->columns, *end = begin + index->total;
    tp_term_t *after = tp_terms(wide, terms, begin, end, x);
    if (after == terms + index->total) { // all sums fit 32 bits
        tp_rows_terms(wide, z, w, rows, stride, terms, after);
        for (size_t o = 0; shift > 0 && o < rows; o++) {
            z[o] >>= shift;
        }
        return;
    }
    for (size_t first = 0, n; first < rows; first += n) {
        int64_t sums[TP_SUMS];
        n = rows - first < TP_SUMS ? rows - first : TP_SUMS;
        if (n < 4u) {
            first = rows - 4u;
            n = 4u;
        }
        memset(sums, 0, sizeof(sums));
        for (const uint16_t *c = begin; c < end; c += after - terms) {
            if (first > 0 || c > begin) {
                after = tp_terms(wide, terms, c, end, x);
            }
            tp_rows_terms(wide, z + first, w + first * stride, n, stride, terms, after);
            for (size_t r = 0; r < n; r++) {
                sums[r] += z[first + r];
            }
        }
        for (size_t r = 0; r < n; r++) {
            z[first + r] = tp_shifted(sums[r], shift);
        }
    }
}

void tp_ki_matvec_i8(int32_t *z, const int8_t *w, const int8_t *x, size_t rows, size_t cols,
    const tp_ki_index_t *index) {
    size_t n = index != NULL ? index->total : cols;
    if (index != NULL && rows >= 4u && n > 0) {
        tp_index_matvec(false, z, (const void *)w, x, rows, cols, 0, index);
        return;
    }
    for (size_t o = 0; o < rows;) {
        // The last four overlap those before.
        size_t at = rows >= 4u && o + 4u > rows ? rows - 4u : o;
        const int8_t *row = w + at * cols;
        if (rows < 4u || n == 0) {
            int32_t sum = 0;
            for (size_t j = 0; j < n; j++) {
                size_t i = index != NULL ? index->columns[j] : j;
                sum += row[i] * x[i];
            }
            z[o++] = sum;
        } else {
            tp_four_dots_i8(z + at, row, x, cols, cols);
            o += 4u;
        }
    }
}

// 64 terms fit 32 bits.
void tp_ki_matvec_i16(int32_t *z, const int16_t *w, const int16_t *x, size_t rows, size_t cols,
    uint32_t shift, const tp_ki_index_t *index) {
    size_t n = index != NULL ? index->total : cols;
    const uint16_t *columns = index != NULL ? index->columns : NULL;
    if (index != NULL && rows >= 4u && n > 0) {
        tp_index_matvec(true, z, (const void *)w, x, rows, 2u * cols, shift, index);
        return;
    }
    for (size_t o = 0; o < rows;) {
        size_t at = rows >= 4u && o + 4u > rows ? rows - 4u : o;
        const int16_t *row = w + at * cols;
        size_t taken = rows < 4u ? 1u : 4u;
        int64_t sums[4];
        sums[0] = sums[1] = sums[2] = sums[3] = 0;
        for (size_t from = 0; from < n; from += 64u) {
            size_t some = n - from < 64u ? n - from : 64u;
            if (taken == 1u) {
                int32_t part = 0;
                for (size_t j = from; j < from + some; j++) {
                    size_t i = columns != NULL ? columns[j] : j;
                    part += row[i] * x[i];
                }
                sums[0] += part;
            } else {
                tp_four_dots_i16(sums, row + from, x + from, 2u * cols, 2u * some);
            }
        }
        for (size_t r = 0; r < taken; r++) {
            z[at + r] = tp_shifted(sums[r], shift);
        }
        o += taken;
    }
}

// clang-format off

// The same at the columns c .. end, at least one.
#define TP_SOME_DX(name, two, load, shift, four) \
    TP_NAKED static void name(int32_t *dx, const tp_two_t *q, const uint16_t *c, \
        const uint16_t *end) { \
        __asm volatile( \
            ".syntax unified\n" \
            "push {r4-r7, lr}\n" \
            "mov r12, r0\n" "mov lr, r3\n" \
            "ldm r1!, {r4-r7}\n" \
            "1:\n" \
            "ldrh r3, [r2]\n" "adds r2, #2\n" two \
            load " r0, [r4, r3]\n" "muls r0, r6\n" shift("r0") \
            load " r1, [r5, r3]\n" "muls r1, r7\n" shift("r1") \
            "adds r0, r0, r1\n" \
            four "add r3, r12\n" \
            "ldr r1, [r3]\n" "adds r1, r1, r0\n" "str r1, [r3]\n" \
            "cmp r2, lr\n" "bne 1b\n" \
            "pop {r4-r7, pc}\n"); \
    }
#define SHIFT_0(r) ""
#define SHIFT_8(r) "asrs " r ", " r ", #8\n"
TP_SOME_DX(tp_some_dx_i8, "", "ldrsb", SHIFT_0, "lsls r3, r3, #2\n")
TP_SOME_DX(tp_some_dx_i16, "lsls r3, r3, #1\n", "ldrsh", SHIFT_8, "lsls r3, r3, #1\n")
// clang-format on

// Two rows at a time, the last one perhaps with nothing.
#define TP_KI_DX(name, type) \
    void tp_ki_rows_dx_##name(int32_t *dx, const tp_ki_row_t *rows, size_t n_rows, size_t cols, \
        const tp_ki_index_t *index) { \
        size_t n = index != NULL ? index->total : cols; \
        for (size_t o = 0; n > 0 && o < n_rows; o += 2u) { \
            const tp_ki_row_t *other = &rows[o + 1u < n_rows ? o + 1u : o]; \
            tp_two_t q = {rows[o].w, other->w, rows[o].g, o + 1u < n_rows ? other->g : 0, \
                n * sizeof(type)}; \
            if (index != NULL) { \
                tp_some_dx_##name(dx, &q, index->columns, index->columns + n); \
            } else { \
                tp_two_dx_##name(dx, &q); \
            } \
        } \
    }

TP_KI_DX(i8, int8_t)
TP_KI_DX(i16, int16_t)

#endif
