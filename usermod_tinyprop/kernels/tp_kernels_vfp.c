// Inner loops for Cortex-M cores with a single-precision FPU (M4F, M7, M33). Compilers load and
// store one float per instruction; these loops move eight. Equal to tp_kernels_generic.c bit for
// bit, but for TP_FUSED.
#include "tp_kernels.h"

#if TP_KERNELS_VFP

#define TP_LANES(s) (((s)[0] + (s)[2]) + ((s)[1] + (s)[3]))

// The assembler keeps its lines.
// clang-format off

// Registers in fours, s0..s3 and so on; and one register four times.
#define Q0 0, 1, 2, 3
#define Q1 4, 5, 6, 7
#define Q2 8, 9, 10, 11
#define Q3 12, 13, 14, 15
#define Q4 16, 17, 18, 19
#define Q5 20, 21, 22, 23
#define ALL(r) r, r, r, r

#define MUL(d, a, b) "vmul.f32 s" #d ", s" #a ", s" #b "\n"
#define ADD(d, a, b) "vadd.f32 s" #d ", s" #a ", s" #b "\n"
#define FMA(d, a, b) "vfma.f32 s" #d ", s" #a ", s" #b "\n"
#define ABS(d, a, b) "vabs.f32 s" #d ", s" #a "\n"
#define EACH4_(op, d0, d1, d2, d3, a0, a1, a2, a3, b0, b1, b2, b3) \
    op(d0, a0, b0) op(d1, a1, b1) op(d2, a2, b2) op(d3, a3, b3)
#define EACH4(...) EACH4_(__VA_ARGS__)

// sum = sum + a * b, four times; t is spoilt.
#if TP_FUSED
#define MAC4_(s0, s1, s2, s3, a0, a1, a2, a3, b0, b1, b2, b3, t0, t1, t2, t3) \
    FMA(s0, a0, b0) FMA(s1, a1, b1) FMA(s2, a2, b2) FMA(s3, a3, b3)
#else
#define MAC4_(s0, s1, s2, s3, a0, a1, a2, a3, b0, b1, b2, b3, t0, t1, t2, t3) \
    MUL(t0, a0, b0) MUL(t1, a1, b1) MUL(t2, a2, b2) MUL(t3, a3, b3) \
    ADD(s0, s0, t0) ADD(s1, s1, t1) ADD(s2, s2, t2) ADD(s3, s3, t3)
#endif
#define MAC4(...) MAC4_(__VA_ARGS__)

// One more of `zeros` where the integer register holds a float that is 0.
#define ZERO(r) "cmp %[none], r" #r ", lsl #1\n" "adc %[zeros], %[zeros], #0\n"

#define LOOP "subs %[n], #1\n" "bne 1b\n"
#define S0_7 "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"
#define S8_15 "s8", "s9", "s10", "s11", "s12", "s13", "s14", "s15"
#define S16_23 "s16", "s17", "s18", "s19", "s20", "s21", "s22", "s23"

// What sums start from: compilers would call memset.
static const float tp_zeros[16] = {0};

// Eight columns of one row into the lanes `sum`.
#define ROW_DOT(w, sum) \
    "vldmia %[" w "]!, {s16-s23}\n" \
    MAC4(sum, Q4, Q2, Q4) \
    MAC4(sum, Q5, Q3, Q5)

// s = the lanes of a row; blocks of eight columns, at least one.
static void tp_dot_1(float *s, const float *w, const float *x, size_t blocks) {
    __asm volatile(
        "vldmia %[zeros], {s0-s3}\n"
        "1:\n"
        "vldmia %[x]!, {s8-s15}\n"
        ROW_DOT("w", Q0)
        LOOP
        "vstmia %[s], {s0-s3}\n"
        : [w] "+r"(w), [x] "+r"(x), [n] "+r"(blocks)
        : [s] "r"(s), [zeros] "r"(tp_zeros)
        : S0_7, S8_15, S16_23, "cc", "memory");
}

// The same of two rows, which share x.
static void tp_dot_2(float *s, const float *w, const float *v, const float *x, size_t blocks) {
    __asm volatile(
        "vldmia %[zeros], {s0-s7}\n"
        "1:\n"
        "vldmia %[x]!, {s8-s15}\n"
        ROW_DOT("w", Q0)
        ROW_DOT("v", Q1)
        LOOP
        "vstmia %[s], {s0-s7}\n"
        : [w] "+r"(w), [v] "+r"(v), [x] "+r"(x), [n] "+r"(blocks)
        : [s] "r"(s), [zeros] "r"(tp_zeros)
        : S0_7, S8_15, S16_23, "cc", "memory");
}

void tp_k_matvec_f32(float *z, const float *w, const float *x, const float *b, size_t rows,
    size_t cols) {
    size_t whole = cols & ~(size_t)7u;
    while (rows > 0) {
        float s[8];
        size_t taken = rows > 1 ? 2 : 1;
        if (whole == 0) {
            memcpy(s, tp_zeros, sizeof(s));
        } else if (taken == 2) {
            tp_dot_2(s, w, w + cols, x, whole / 8u);
        } else {
            tp_dot_1(s, w, x, whole / 8u);
        }
        for (size_t r = 0; r < taken; r++, w += cols) {
            float *lanes = s + 4u * r;
            for (size_t i = whole; i < cols; i++) {
                lanes[i & 3u] += w[i] * x[i];
            }
            *z++ = TP_LANES(lanes) + *b++;
        }
        rows -= taken;
    }
}

float tp_k_sum_abs_f32(const float *x, size_t n) {
    float s[4] = {0};
    size_t blocks = n / 8u;
    if (blocks != 0) {
        __asm volatile(
            "vldmia %[zeros], {s0-s3}\n"
            "1:\n"
            "vldmia %[x]!, {s8-s15}\n"
            EACH4(ABS, Q2, Q2, Q2)
            EACH4(ABS, Q3, Q3, Q3)
            EACH4(ADD, Q0, Q0, Q2)
            EACH4(ADD, Q0, Q0, Q3)
            LOOP
            "vstmia %[s], {s0-s3}\n"
            : [x] "+r"(x), [n] "+r"(blocks)
            : [s] "r"(s), [zeros] "r"(tp_zeros)
            : S0_7, S8_15, "cc", "memory");
    }
    for (size_t i = 0; i < (n & 7u); i++) {
        s[i & 3u] += __builtin_fabsf(x[i]);
    }
    return TP_LANES(s);
}

size_t tp_k_next_f32(const float *x, size_t from, size_t n) {
    size_t blocks = from < n ? (n - from) / 4u : 0;
    const float *p = x + from;
    if (blocks != 0) {
        // p stops behind the first four that are not all 0, where n is not 0.
        __asm volatile(
            "1:\n"
            "ldmia %[p]!, {r4-r6, r8}\n"
            "orr r4, r4, r5\n"
            "orr r6, r6, r8\n"
            "orr r4, r4, r6\n"
            "lsls r4, r4, #1\n"
            "bne 2f\n"
            LOOP
            "2:\n"
            : [p] "+r"(p), [n] "+r"(blocks)
            :
            : "r4", "r5", "r6", "r8", "cc", "memory");
    }
    if (blocks != 0) {
        return (size_t)(p - x) - 4u;
    }
    from = (size_t)(p - x);
    while (from < n && tp_k_is_zero(x[from])) {
        from++;
    }
    return from;
}

// Of four values in registers, the one `back` bytes before p.
#define LOOK(r, found, next) "lsls %[t], r" #r ", #1\n" "bne " #found "f\n" #next ":\n"
#define FOUND(found, back, next) \
    #found ":\n" \
    "sub %[t], %[p], #" #back "\n" \
    "str %[t], [%[to]], #4\n" \
    "b " #next "b\n"

size_t tp_k_kept_f32(const float **kept, const float *d, size_t n) {
    size_t blocks = n / 4u;
    const float *p = d, **to = kept;
    if (blocks != 0) {
        uint32_t t;
        __asm volatile(
            "1:\n"
            "ldmia %[p]!, {r4-r6, r8}\n"
            LOOK(4, 20, 10)
            LOOK(5, 21, 11)
            LOOK(6, 22, 12)
            LOOK(8, 23, 13)
            LOOP
            "b 2f\n"
            FOUND(20, 16, 10)
            FOUND(21, 12, 11)
            FOUND(22, 8, 12)
            FOUND(23, 4, 13)
            "2:\n"
            : [p] "+r"(p), [n] "+r"(blocks), [to] "+r"(to), [t] "=&r"(t)
            :
            : "r4", "r5", "r6", "r8", "cc", "memory");
    }
    for (size_t i = n & 3u; i > 0; i--, p++) {
        if (!tp_k_is_zero(*p)) {
            *to++ = p;
        }
    }
    return (size_t)(to - kept);
}

#define CUT(r, back, found, next) \
    "cmp %[from], r" #r ", lsl #1\n" \
    "bls " #found "f\n" \
    "str %[zero], [%[p], #-" #back "]\n" \
    #next ":\n"
#define NOT_CUT(r, back, found, next) \
    #found ":\n" \
    "lsl %[t], r" #r ", #1\n" \
    "cmp %[t], %[last]\n" \
    "bhi " #next "b\n" \
    "sub %[t], %[p], #" #back "\n" \
    "str %[t], [%[to]], #4\n" \
    "b " #next "b\n"

size_t tp_k_cut_f32(uint32_t *places, float *d, size_t n, uint32_t from, uint32_t last) {
    size_t blocks = n / 4u;
    float *p = d;
    uint32_t *to = places;
    if (blocks != 0) {
        uint32_t t;
        __asm volatile(
            "1:\n"
            "ldmia %[p]!, {r4-r6, r8}\n"
            CUT(4, 16, 20, 10)
            CUT(5, 12, 21, 11)
            CUT(6, 8, 22, 12)
            CUT(8, 4, 23, 13)
            LOOP
            "b 2f\n"
            NOT_CUT(4, 16, 20, 10)
            NOT_CUT(5, 12, 21, 11)
            NOT_CUT(6, 8, 22, 12)
            NOT_CUT(8, 4, 23, 13)
            "2:\n"
            : [p] "+r"(p), [n] "+r"(blocks), [to] "+r"(to), [t] "=&r"(t)
            : [from] "r"(from), [last] "r"(last), [zero] "r"(0)
            : "r4", "r5", "r6", "r8", "cc", "memory");
    }
    for (uint32_t *q = places; q != to; q++) {
        *q = (*q - (uint32_t)(uintptr_t)d) / sizeof(*d);
    }
    for (size_t i = n & ~(size_t)3u; i < n; i++) {
        uint32_t key;
        memcpy(&key, &d[i], sizeof(key));
        key <<= 1;
        if (key < from) {
            d[i] = 0.0f;
        } else if (key <= last) {
            *to++ = (uint32_t)i;
        }
    }
    return (size_t)(to - places);
}

#if TP_MAPS

#define SEEN(r, found, next) "cmp %[low], r" #r ", lsl #1\n" "bls " #found "f\n" #next ":\n"
#define BIN(r, found, next) \
    #found ":\n" \
    "ubfx %[t], r" #r ", #17, #14\n" \
    "sub %[t], %[t], %[base]\n" \
    "usat %[t], #8, %[t]\n" \
    "ldrh %[v], [%[bins], %[t], lsl #1]\n" \
    "add %[v], %[v], #1\n" \
    "strh %[v], [%[bins], %[t], lsl #1]\n" \
    "b " #next "b\n"

size_t tp_k_bins_f32(uint16_t *bins, const float *d, size_t n, uint32_t low, int32_t base) {
    const float *p = d;
    size_t blocks = n / 4u;
    uint32_t t, v;
    if (blocks != 0) {
        __asm volatile(
            "1:\n"
            "ldmia %[p]!, {r4-r6, r8}\n"
            SEEN(4, 20, 10)
            SEEN(5, 21, 11)
            SEEN(6, 22, 12)
            SEEN(8, 23, 13)
            LOOP
            "b 2f\n"
            BIN(4, 20, 10)
            BIN(5, 21, 11)
            BIN(6, 22, 12)
            BIN(8, 23, 13)
            "2:\n"
            : [p] "+r"(p), [n] "+r"(blocks), [t] "=&r"(t), [v] "=&r"(v)
            : [bins] "r"(bins), [low] "r"(low), [base] "r"(base)
            : "r4", "r5", "r6", "r8", "cc", "memory");
    }
    return n & ~(size_t)3u;
}

#endif

uint32_t tp_k_count_f32(const float *x, size_t n) {
    size_t blocks = n / 4u, zeros = 0;
    if (blocks != 0) {
        // No borrow from 0 - (bits << 1): a zero.
        __asm volatile(
            "1:\n"
            "ldmia %[x]!, {r4-r6, r8}\n"
            ZERO(4)
            ZERO(5)
            ZERO(6)
            ZERO(8)
            LOOP
            : [x] "+r"(x), [n] "+r"(blocks), [zeros] "+r"(zeros)
            : [none] "r"(0)
            : "r4", "r5", "r6", "r8", "cc", "memory");
    }
    for (size_t i = 0; i < (n & 3u); i++) {
        zeros += tp_k_is_zero(x[i]);
    }
    return (uint32_t)(n - zeros);
}

void tp_k_axpy_f32(float *restrict y, float a, const float *restrict x, size_t n) {
    size_t blocks = n / 8u;
    if (blocks != 0) {
        __asm volatile(
            "vmov s16, %[a]\n"
            "1:\n"
            "vldmia %[x]!, {s0-s7}\n"
            "vldmia %[y], {s8-s15}\n"
            MAC4(Q2, Q0, ALL(16), Q0)
            MAC4(Q3, Q1, ALL(16), Q1)
            "vstmia %[y]!, {s8-s15}\n"
            LOOP
            : [y] "+r"(y), [x] "+r"(x), [n] "+r"(blocks)
            : [a] "r"(a)
            : S0_7, S8_15, "s16", "cc", "memory");
    }
    for (size_t i = 0; i < (n & 7u); i++) {
        y[i] = y[i] + a * x[i];
    }
}

void tp_k_add_f32(float *restrict y, const float *restrict x, size_t n) {
    size_t blocks = n / 8u;
    if (blocks != 0) {
        __asm volatile(
            "1:\n"
            "vldmia %[x]!, {s0-s7}\n"
            "vldmia %[y], {s8-s15}\n"
            EACH4(ADD, Q2, Q2, Q0)
            EACH4(ADD, Q3, Q3, Q1)
            "vstmia %[y]!, {s8-s15}\n"
            LOOP
            : [y] "+r"(y), [x] "+r"(x), [n] "+r"(blocks)
            :
            : S0_7, S8_15, "cc", "memory");
    }
    for (size_t i = 0; i < (n & 7u); i++) {
        y[i] = y[i] + x[i];
    }
}

void tp_k_channel_sums_f32(float *restrict out, const float *restrict x, size_t places, size_t c) {
    size_t whole = places > 0 ? c & ~(size_t)7u : 0;
    for (size_t j = 0; j < whole; j += 8) {
        const float *p = x + j;
        size_t n = places;
        __asm volatile(
            "vldmia %[zeros], {s0-s7}\n"
            "1:\n"
            "vldmia %[p], {s8-s15}\n"
            "add %[p], %[step]\n"
            EACH4(ADD, Q0, Q0, Q2)
            EACH4(ADD, Q1, Q1, Q3)
            LOOP
            "vstmia %[out], {s0-s7}\n"
            : [p] "+r"(p), [n] "+r"(n)
            : [out] "r"(out + j), [zeros] "r"(tp_zeros), [step] "r"(c * sizeof(float))
            : S0_7, S8_15, "cc", "memory");
    }
    for (size_t j = whole; j < c; j++) {
        float sum = 0.0f;
        for (size_t i = 0; i < places; i++) {
            sum += x[i * c + j];
        }
        out[j] = sum;
    }
}

void tp_k_add_abs_f32(float *restrict y, const float *restrict x, size_t n) {
    size_t blocks = n / 8u;
    if (blocks != 0) {
        __asm volatile(
            "1:\n"
            "vldmia %[x]!, {s0-s7}\n"
            "vldmia %[y], {s8-s15}\n"
            EACH4(ABS, Q0, Q0, Q0)
            EACH4(ABS, Q1, Q1, Q1)
            EACH4(ADD, Q2, Q2, Q0)
            EACH4(ADD, Q3, Q3, Q1)
            "vstmia %[y]!, {s8-s15}\n"
            LOOP
            : [y] "+r"(y), [x] "+r"(x), [n] "+r"(blocks)
            :
            : S0_7, S8_15, "cc", "memory");
    }
    for (size_t i = 0; i < (n & 7u); i++) {
        y[i] = y[i] + __builtin_fabsf(x[i]);
    }
}

void tp_k_copy_f32(float *restrict to, const float *restrict from, size_t n) {
    size_t blocks = n / 16u;
    if (blocks != 0) {
        __asm volatile(
            "1:\n"
            "vldmia %[from]!, {s0-s15}\n"
            "vstmia %[to]!, {s0-s15}\n"
            LOOP
            : [to] "+r"(to), [from] "+r"(from), [n] "+r"(blocks)
            :
            : S0_7, S8_15, "cc", "memory");
    }
    for (size_t i = 0; i < (n & 15u); i++) {
        to[i] = from[i];
    }
}

void tp_k_clear_f32(float *x, size_t n) {
    size_t blocks = n / 16u;
    if (blocks != 0) {
        __asm volatile(
            "vldmia %[zeros], {s0-s15}\n"
            "1:\n"
            "vstmia %[x]!, {s0-s15}\n"
            LOOP
            : [x] "+r"(x), [n] "+r"(blocks)
            : [zeros] "r"(tp_zeros)
            : S0_7, S8_15, "cc", "memory");
    }
    for (size_t i = 0; i < (n & 15u); i++) {
        x[i] = 0.0f;
    }
}

#define ROW_DX(w, d) \
    "vldmia %[" w "]!, {s8-s15}\n" \
    MAC4(Q0, Q2, ALL(d), Q2) \
    MAC4(Q1, Q3, ALL(d), Q3)

void tp_k_four_dx_f32(float *restrict dx, float *const rows[4], const float d[4], size_t n) {
    const float *w0 = rows[0], *w1 = rows[1], *w2 = rows[2], *w3 = rows[3];
    size_t blocks = n / 8u;
    if (blocks != 0) {
        __asm volatile(
            "vldmia %[d], {s16-s19}\n"
            "1:\n"
            "vldmia %[dx], {s0-s7}\n"
            ROW_DX("w0", 16)
            ROW_DX("w1", 17)
            ROW_DX("w2", 18)
            ROW_DX("w3", 19)
            "vstmia %[dx]!, {s0-s7}\n"
            LOOP
            : [dx] "+r"(dx), [w0] "+r"(w0), [w1] "+r"(w1), [w2] "+r"(w2), [w3] "+r"(w3),
              [n] "+r"(blocks)
            : [d] "r"(d)
            : S0_7, S8_15, "s16", "s17", "s18", "s19", "cc", "memory");
    }
    for (size_t i = 0; i < (n & 7u); i++) {
        dx[i] = (((dx[i] + d[0] * w0[i]) + d[1] * w1[i]) + d[2] * w2[i]) + d[3] * w3[i];
    }
}

#define ROW_UPDATE(w, g) \
    "vldmia %[" w "], {s8-s15}\n" \
    MAC4(Q2, Q0, ALL(g), Q4) \
    MAC4(Q3, Q1, ALL(g), Q5) \
    "vstmia %[" w "]!, {s8-s15}\n"

// A loop over lines around one over blocks; what ends a line; their operands.
#define LINES(body) \
    "2:\n" \
    "mov %[n], %[blocks]\n" \
    "1:\n" \
    body \
    LOOP
#define NEXT_LINE "subs %[lines], #1\n" "bne 2b\n"
#define STEP(p, step) "add %[" p "], %[" step "]\n"
#define IN_LINES [blocks] "r"(q->blocks), [map_step] "r"(q->map_step), [row_step] "r"(q->row_step)

// The first row makes the sum, the others add to it; then it is added to dx.
#define FIRST_DX \
    "vldmia %[w0]!, {s8-s15}\n" \
    EACH4(MUL, Q0, Q2, ALL(16)) \
    EACH4(MUL, Q1, Q3, ALL(16))
#define SUM_DX \
    "vldmia %[dx], {s8-s15}\n" \
    EACH4(ADD, Q2, Q2, Q0) \
    EACH4(ADD, Q3, Q3, Q1) \
    "vstmia %[dx]!, {s8-s15}\n"

void tp_k_lines_dx_f32(float *restrict dx, const float *const rows[4], const float d[4],
    size_t kept, const tp_k_lines_t *q) {
    const float *w0 = rows[0], *w1 = rows[1], *w2 = rows[2], *w3 = rows[3];
    size_t n, lines = q->lines;
    if (kept == 1) {
        __asm volatile(
            "vldmia %[d], {s16}\n"
            LINES(FIRST_DX SUM_DX)
            STEP("dx", "map_step") STEP("w0", "row_step")
            NEXT_LINE
            : [dx] "+r"(dx), [w0] "+r"(w0), [n] "=&r"(n), [lines] "+r"(lines)
            : [d] "r"(d), IN_LINES
            : S0_7, S8_15, "s16", "cc", "memory");
    } else if (kept == 2) {
        __asm volatile(
            "vldmia %[d], {s16-s17}\n"
            LINES(FIRST_DX ROW_DX("w1", 17) SUM_DX)
            STEP("dx", "map_step") STEP("w0", "row_step") STEP("w1", "row_step")
            NEXT_LINE
            : [dx] "+r"(dx), [w0] "+r"(w0), [w1] "+r"(w1), [n] "=&r"(n), [lines] "+r"(lines)
            : [d] "r"(d), IN_LINES
            : S0_7, S8_15, "s16", "s17", "cc", "memory");
    } else if (kept == 3) {
        __asm volatile(
            "vldmia %[d], {s16-s18}\n"
            LINES(FIRST_DX ROW_DX("w1", 17) ROW_DX("w2", 18) SUM_DX)
            STEP("dx", "map_step") STEP("w0", "row_step") STEP("w1", "row_step")
            STEP("w2", "row_step")
            NEXT_LINE
            : [dx] "+r"(dx), [w0] "+r"(w0), [w1] "+r"(w1), [w2] "+r"(w2), [n] "=&r"(n),
              [lines] "+r"(lines)
            : [d] "r"(d), IN_LINES
            : S0_7, S8_15, "s16", "s17", "s18", "cc", "memory");
    } else {
        __asm volatile(
            "vldmia %[d], {s16-s19}\n"
            LINES(FIRST_DX ROW_DX("w1", 17) ROW_DX("w2", 18) ROW_DX("w3", 19) SUM_DX)
            STEP("dx", "map_step") STEP("w0", "row_step") STEP("w1", "row_step")
            STEP("w2", "row_step") STEP("w3", "row_step")
            NEXT_LINE
            : [dx] "+r"(dx), [w0] "+r"(w0), [w1] "+r"(w1), [w2] "+r"(w2), [w3] "+r"(w3),
              [n] "=&r"(n), [lines] "+r"(lines)
            : [d] "r"(d), IN_LINES
            : S0_7, S8_15, "s16", "s17", "s18", "s19", "cc", "memory");
    }
}

static void tp_lines_update_4(float *const rows[4], const float g[4], const float *restrict x,
    const tp_k_lines_t *q) {
    float *w0 = rows[0], *w1 = rows[1], *w2 = rows[2], *w3 = rows[3];
    size_t n, lines = q->lines;
    __asm volatile(
        "vldmia %[g], {s24-s27}\n"
        LINES("vldmia %[x]!, {s0-s7}\n" ROW_UPDATE("w0", 24) ROW_UPDATE("w1", 25)
            ROW_UPDATE("w2", 26) ROW_UPDATE("w3", 27))
        STEP("x", "map_step") STEP("w0", "row_step") STEP("w1", "row_step")
        STEP("w2", "row_step") STEP("w3", "row_step")
        NEXT_LINE
        : [x] "+r"(x), [w0] "+r"(w0), [w1] "+r"(w1), [w2] "+r"(w2), [w3] "+r"(w3),
          [n] "=&r"(n), [lines] "+r"(lines)
        : [g] "r"(g), IN_LINES
        : S0_7, S8_15, S16_23, "s24", "s25", "s26", "s27", "cc", "memory");
}

static void tp_lines_update_2(float *const rows[2], const float g[2], const float *restrict x,
    const tp_k_lines_t *q) {
    float *w0 = rows[0], *w1 = rows[1];
    size_t n, lines = q->lines;
    __asm volatile(
        "vldmia %[g], {s24-s25}\n"
        LINES("vldmia %[x]!, {s0-s7}\n" ROW_UPDATE("w0", 24) ROW_UPDATE("w1", 25))
        STEP("x", "map_step") STEP("w0", "row_step") STEP("w1", "row_step")
        NEXT_LINE
        : [x] "+r"(x), [w0] "+r"(w0), [w1] "+r"(w1), [n] "=&r"(n), [lines] "+r"(lines)
        : [g] "r"(g), IN_LINES
        : S0_7, S8_15, S16_23, "s24", "s25", "cc", "memory");
}

static void tp_lines_update_1(float *w0, const float *g, const float *restrict x,
    const tp_k_lines_t *q) {
    size_t n, lines = q->lines;
    __asm volatile(
        "vldmia %[g], {s24}\n"
        LINES("vldmia %[x]!, {s0-s7}\n" ROW_UPDATE("w0", 24))
        STEP("x", "map_step") STEP("w0", "row_step")
        NEXT_LINE
        : [x] "+r"(x), [w0] "+r"(w0), [n] "=&r"(n), [lines] "+r"(lines)
        : [g] "r"(g), IN_LINES
        : S0_7, S8_15, S16_23, "s24", "cc", "memory");
}

void tp_k_lines_update_f32(float *const rows[4], const float g[4], size_t kept, const float *x,
    const tp_k_lines_t *q) {
    if (kept == 4) {
        tp_lines_update_4(rows, g, x, q);
        return;
    }
    if (kept >= 2) {
        tp_lines_update_2(rows, g, x, q);
    }
    if ((kept & 1u) != 0) {
        tp_lines_update_1(rows[kept - 1u], g + (kept - 1u), x, q);
    }
}

void tp_k_four_update_f32(float *const rows[4], const float g[4], const float *restrict x,
    size_t n) {
    size_t whole = n & ~(size_t)7u;
    if (whole != 0) {
        tp_lines_update_4(rows, g, x, &(tp_k_lines_t){1, whole / 8u, 0, 0});
    }
    for (size_t i = whole; i < n; i++) {
        for (size_t r = 0; r < 4; r++) {
            rows[r][i] = rows[r][i] + g[r] * x[i];
        }
    }
}

#if TP_MAPS

#define DX_LOOP(body) \
    "1:\n" \
    "vldmia %[dx], {s0-s7}\n" \
    body \
    "vstmia %[dx]!, {s0-s7}\n" \
    LOOP

// As tp_k_four_dx_f32, for fewer rows.
static void tp_few_dx(float *dx, float *const rows[4], const float d[4], size_t kept, size_t n) {
    const float *w0 = rows[0], *w1 = rows[1], *w2 = rows[2];
    if (kept == 3) {
        __asm volatile(
            "vldmia %[d], {s16-s18}\n"
            DX_LOOP(ROW_DX("w0", 16) ROW_DX("w1", 17) ROW_DX("w2", 18))
            : [dx] "+r"(dx), [w0] "+r"(w0), [w1] "+r"(w1), [w2] "+r"(w2), [n] "+r"(n)
            : [d] "r"(d)
            : S0_7, S8_15, "s16", "s17", "s18", "cc", "memory");
    } else if (kept == 2) {
        __asm volatile(
            "vldmia %[d], {s16-s17}\n"
            DX_LOOP(ROW_DX("w0", 16) ROW_DX("w1", 17))
            : [dx] "+r"(dx), [w0] "+r"(w0), [w1] "+r"(w1), [n] "+r"(n)
            : [d] "r"(d)
            : S0_7, S8_15, "s16", "s17", "cc", "memory");
    } else {
        __asm volatile(
            "vldmia %[d], {s16}\n"
            DX_LOOP(ROW_DX("w0", 16))
            : [dx] "+r"(dx), [w0] "+r"(w0), [n] "+r"(n)
            : [d] "r"(d)
            : S0_7, S8_15, "s16", "cc", "memory");
    }
}

size_t tp_k_places_f32(float *dx, const float *x, float *w, float lr, const float *d,
    const tp_k_places_t *q) {
    const tp_k_lines_t line = {1, q->cols / 8u, 0, 0};
    const float *list[TP_LISTED + 3u];
    size_t total = 0;
    for (size_t i = 0; i < q->places; i++, d += q->stride) {
        for (size_t from = 0; from < q->rows; from += TP_LISTED) {
            size_t some = q->rows - from < TP_LISTED ? q->rows - from : TP_LISTED;
            size_t kept = tp_k_kept_f32(list, d + from, some);
            total += kept;
            const float *const *at = list;
            float *rows[4], factors[4];
            for (; kept >= 4; at += 4, kept -= 4) {
                tp_k_factors(rows, factors, w, lr, dx == NULL, d, at, 4, q->cols);
                if (dx == NULL) {
                    tp_lines_update_4(rows, factors, x, &line);
                } else {
                    tp_k_four_dx_f32(dx, rows, factors, q->cols);
                }
            }
            tp_k_factors(rows, factors, w, lr, dx == NULL, d, at, kept, q->cols);
            if (kept > 0 && dx == NULL) {
                tp_k_lines_update_f32(rows, factors, kept, x, &line);
            } else if (kept > 0) {
                tp_few_dx(dx, rows, factors, kept, line.blocks);
            }
        }
        dx = dx != NULL ? dx + q->cols : NULL;
        x += q->cols;
    }
    return total;
}

#endif

// clang-format on

#endif
