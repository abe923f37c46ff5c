// Inner loops for Cortex-M cores with a single-precision FPU (M4F, M7, M33). Compilers load and
// store one float per instruction; these loops move eight. Equal to tp_kernels_generic.c bit for
// bit, but for TP_FUSED.
#include "tp_kernels.h"

#if TP_KERNELS_VFP

#define TP_LANES(s) (((s)[0] + (s)[2]) + ((s)[1] + (s)[3]))

// Registers in fours, s0..s3 and so on; and one register four times.
#define Q0 0, 1, 2, 3
#define Q1 4, 5, 6, 7
#define Q2 8, 9, 10, 11
#define Q3 12, 13, 14, 15
#define Q4 16, 17, 18, 19
#define Q5 20, 21, 22, 23
#define Q6 24, 25, 26, 27
#define ALL(r) r, r, r, r

#define MUL(d, a, b) "vmul.f32 s" #d ", s" #a ", s" #b "\n"
#define ADD(d, a, b) "vadd.f32 s" #d ", s" #a ", s" #b "\n"
#define FMA(d, a, b) "vfma.f32 s" #d ", s" #a ", s" #b "\n"
#define EACH4_(op, d0, d1, d2, d3, a0, a1, a2, a3, b0, b1, b2, b3) \
    op(d0, a0, b0) op(d1, a1, b1) op(d2, a2, b2) op(d3, a3, b3)
#define EACH4(...) EACH4_(__VA_ARGS__)

// sum = sum + a * b, four times; t is spoilt.
#if TP_FUSED
#define MAC4(sum, a, b, t) EACH4(FMA, sum, a, b)
#else
#define MAC4(sum, a, b, t) EACH4(MUL, t, a, b) EACH4(ADD, sum, sum, t)
#endif

#define LOOP "subs %[n], #1\n bne 1b\n"
#define LOW "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14", "s15"
#define HIGH "s16", "s17", "s18", "s19", "s20", "s21", "s22", "s23"

// s += the lanes of a row, eight columns a turn; blocks > 0.
static void tp_dot_blocks(float *s, const float *w, const float *x, size_t blocks) {
    __asm volatile("vldmia %[s], {s0-s3}\n"
                   "1:\n"
                   "vldmia %[x]!, {s8-s15}\n"
                   "vldmia %[w]!, {s16-s23}\n" MAC4(Q0, Q4, Q2, Q4) MAC4(Q0, Q5, Q3, Q5) LOOP
                   "vstmia %[s], {s0-s3}\n"
        : [w] "+r"(w), [x] "+r"(x), [n] "+r"(blocks)
        : [s] "r"(s)
        : LOW, HIGH, "cc", "memory");
}

// The same for two rows, which share x.
static void tp_dot_blocks_2(float *s, const float *w, const float *v, const float *x,
    size_t blocks) {
    __asm volatile(
        "vldmia %[s], {s0-s7}\n"
        "1:\n"
        "vldmia %[x]!, {s8-s15}\n"
        "vldmia %[w]!, {s16-s23}\n" MAC4(Q0, Q4, Q2, Q4) MAC4(Q0, Q5, Q3, Q5)
        "vldmia %[v]!, {s16-s23}\n" MAC4(Q1, Q4, Q2, Q4) MAC4(Q1, Q5, Q3, Q5) LOOP
        "vstmia %[s], {s0-s7}\n"
        : [w] "+r"(w), [v] "+r"(v), [x] "+r"(x), [n] "+r"(blocks)
        : [s] "r"(s)
        : LOW, HIGH, "cc", "memory");
}

void tp_k_matvec_f32(float *z, const float *w, const float *x, const float *b, size_t rows,
    size_t cols) {
    size_t whole = cols & ~(size_t)7u;
    while (rows > 0) {
        float s[8] = {0};
        size_t taken = rows > 1 ? 2 : 1;
        if (whole != 0 && taken == 2) {
            tp_dot_blocks_2(s, w, w + cols, x, whole / 8u);
        } else if (whole != 0) {
            tp_dot_blocks(s, w, x, whole / 8u);
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

void tp_k_axpy_f32(float *restrict y, float a, const float *restrict x, size_t n) {
    size_t blocks = n / 8u;
    if (blocks != 0) {
        __asm volatile("vmov s16, %[a]\n"
                       "1:\n"
                       "vldmia %[x]!, {s0-s7}\n"
                       "vldmia %[y], {s8-s15}\n" MAC4(Q2, Q0, ALL(16), Q0)
                           MAC4(Q3, Q1, ALL(16), Q1) "vstmia %[y]!, {s8-s15}\n" LOOP
            : [y] "+r"(y), [x] "+r"(x), [n] "+r"(blocks)
            : [a] "r"(a)
            : LOW, "s16", "cc", "memory");
    }
    for (size_t i = 0; i < (n & 7u); i++) {
        y[i] = y[i] + a * x[i];
    }
}

void tp_k_add_f32(float *restrict y, const float *restrict x, size_t n) {
    size_t blocks = n / 8u;
    if (blocks != 0) {
        __asm volatile("1:\n"
                       "vldmia %[x]!, {s0-s7}\n"
                       "vldmia %[y], {s8-s15}\n" EACH4(ADD, Q2, Q2, Q0) EACH4(ADD, Q3, Q3, Q1)
                           "vstmia %[y]!, {s8-s15}\n" LOOP
            : [y] "+r"(y), [x] "+r"(x), [n] "+r"(blocks)
            :
            : LOW, "cc", "memory");
    }
    for (size_t i = 0; i < (n & 7u); i++) {
        y[i] = y[i] + x[i];
    }
}

void tp_k_back_update_f32(float *restrict dx, float *restrict w, const float *restrict x, float d,
    float g, size_t n) {
    size_t blocks = n / 8u;
    if (blocks != 0) {
        __asm volatile("vmov s28, %[d]\n"
                       "vmov s29, %[g]\n"
                       "1:\n"
                       "vldmia %[dx], {s0-s7}\n"
                       "vldmia %[w], {s8-s15}\n"
                       "vldmia %[x]!, {s16-s23}\n" MAC4(Q0, Q2, ALL(28), Q6)
                           MAC4(Q1, Q3, ALL(28), Q6) MAC4(Q2, Q4, ALL(29), Q4)
                               MAC4(Q3, Q5, ALL(29), Q5) "vstmia %[dx]!, {s0-s7}\n"
                       "vstmia %[w]!, {s8-s15}\n" LOOP
            : [dx] "+r"(dx), [w] "+r"(w), [x] "+r"(x), [n] "+r"(blocks)
            : [d] "r"(d), [g] "r"(g)
            : LOW, HIGH, "s24", "s25", "s26", "s27", "s28", "s29", "cc", "memory");
    }
    for (size_t i = 0; i < (n & 7u); i++) {
        float old = w[i];
        dx[i] = dx[i] + d * old;
        w[i] = old + g * x[i];
    }
}

void tp_k_four_dx_f32(float *restrict dx, float *const rows[4], const float d[4], size_t n) {
    const float *w0 = rows[0], *w1 = rows[1], *w2 = rows[2], *w3 = rows[3];
    size_t blocks = n / 8u;
    if (blocks != 0) {
        __asm volatile(
            "vldmia %[d], {s16-s19}\n"
            "1:\n"
            "vldmia %[dx], {s0-s7}\n"
            "vldmia %[w0]!, {s8-s15}\n" MAC4(Q0, Q2, ALL(16), Q2) MAC4(Q1, Q3, ALL(16), Q3)
            "vldmia %[w1]!, {s8-s15}\n" MAC4(Q0, Q2, ALL(17), Q2) MAC4(Q1, Q3, ALL(17), Q3)
            "vldmia %[w2]!, {s8-s15}\n" MAC4(Q0, Q2, ALL(18), Q2) MAC4(Q1, Q3, ALL(18), Q3)
            "vldmia %[w3]!, {s8-s15}\n" MAC4(Q0, Q2, ALL(19), Q2) MAC4(Q1, Q3, ALL(19), Q3)
            "vstmia %[dx]!, {s0-s7}\n" LOOP
            : [dx] "+r"(dx), [w0] "+r"(w0), [w1] "+r"(w1), [w2] "+r"(w2), [w3] "+r"(w3),
            [n] "+r"(blocks)
            : [d] "r"(d)
            : LOW, "s16", "s17", "s18", "s19", "cc", "memory");
    }
    for (size_t i = 0; i < (n & 7u); i++) {
        dx[i] = (((dx[i] + d[0] * w0[i]) + d[1] * w1[i]) + d[2] * w2[i]) + d[3] * w3[i];
    }
}

void tp_k_four_update_f32(float *const rows[4], const float g[4], const float *restrict x,
    size_t n) {
    float *w0 = rows[0], *w1 = rows[1], *w2 = rows[2], *w3 = rows[3];
    size_t blocks = n / 8u;
    if (blocks != 0) {
        __asm volatile(
            "vldmia %[g], {s24-s27}\n"
            "1:\n"
            "vldmia %[x]!, {s0-s7}\n"
            "vldmia %[w0], {s8-s15}\n" MAC4(Q2, Q0, ALL(24), Q4) MAC4(Q3, Q1, ALL(24), Q5)
            "vstmia %[w0]!, {s8-s15}\n"
            "vldmia %[w1], {s8-s15}\n" MAC4(Q2, Q0, ALL(25), Q4) MAC4(Q3, Q1, ALL(25), Q5)
            "vstmia %[w1]!, {s8-s15}\n"
            "vldmia %[w2], {s8-s15}\n" MAC4(Q2, Q0, ALL(26), Q4) MAC4(Q3, Q1, ALL(26), Q5)
            "vstmia %[w2]!, {s8-s15}\n"
            "vldmia %[w3], {s8-s15}\n" MAC4(Q2, Q0, ALL(27), Q4) MAC4(Q3, Q1, ALL(27), Q5)
            "vstmia %[w3]!, {s8-s15}\n" LOOP
            : [x] "+r"(x), [w0] "+r"(w0), [w1] "+r"(w1), [w2] "+r"(w2), [w3] "+r"(w3),
            [n] "+r"(blocks)
            : [g] "r"(g)
            : LOW, HIGH, "s24", "s25", "s26", "s27", "cc", "memory");
    }
    for (size_t i = 0; i < (n & 7u); i++) {
        w0[i] = w0[i] + g[0] * x[i];
        w1[i] = w1[i] + g[1] * x[i];
        w2[i] = w2[i] + g[2] * x[i];
        w3[i] = w3[i] + g[3] * x[i];
    }
}

#endif
