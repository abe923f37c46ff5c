// What compiled code calls on a core without double-precision instructions and which gcc has in
// libgcc: clang brings none for Xtensa. By integers alone. Single-precision division:
// ports/natmod/divide.c.
#include <stdint.h>

double __extendsfdf2(float v);
float __truncdfsf2(double v);
double __floatsidf(int32_t v);
uint64_t __udivdi3(uint64_t n, uint64_t d);
uint64_t __muldi3(uint64_t a, uint64_t b);

typedef union {
    float f;
    uint32_t u;
} single_t;

typedef union {
    double f;
    uint64_t u;
} double_t;

// m * 2^e without the leading one of the fraction, m != 0.
static double double_of(uint32_t sign, uint32_t m, int32_t e) {
    int zeros = __builtin_clz(m);
    double_t r = {.u = (uint64_t)(m << zeros << 1) << 20};
    r.u |= (uint64_t)(sign | (uint32_t)(31 - zeros + e + 1023) << 20) << 32;
    return r.f;
}

double __extendsfdf2(float v) {
    single_t x = {v};
    double_t r;
    uint32_t sign = x.u & 0x80000000u, m = x.u & 0x7fffffu;
    int32_t e = x.u >> 23 & 255;
    if (e != 0 && e != 255) {
        return double_of(sign, m | 0x800000u, e - 150);
    }
    if (e == 0 && m != 0) {
        return double_of(sign, m, -149);
    }
    r.u = (uint64_t)(sign | (e != 0 ? 0x7ff00000u : 0)) << 32 | (uint64_t)m << 29;
    return r.f;
}

float __truncdfsf2(double v) {
    double_t x = {v};
    single_t r = {.u = (uint32_t)(x.u >> 32) & 0x80000000u};
    int32_t e = (int32_t)(x.u >> 52 & 2047) - 896;
    uint64_t m = (x.u & 0xfffffffffffffull) | 1ull << 52;
    if (e == 2047 - 896) {
        r.u |= 0x7f800000u | ((x.u & 0xfffffffffffffull) != 0 ? 0x400000u : 0);
    } else if (e >= 255) {
        r.u |= 0x7f800000u;
    } else if (e > -25) {
        // 29 bits fall off, more of a number that becomes subnormal.
        int lost = e > 0 ? 29 : 30 - e;
        uint32_t kept = (uint32_t)(m >> lost);
        uint64_t rest = m & ((1ull << lost) - 1), half = 1ull << (lost - 1);
        kept += rest > half || (rest == half && (kept & 1) != 0);
        // A carry goes into the exponent by itself.
        r.u |= e > 0 ? ((uint32_t)(e - 1) << 23) + kept : kept;
    }
    return r.f;
}

double __floatsidf(int32_t v) {
    uint32_t sign = v < 0 ? 0x80000000u : 0;
    return v == 0 ? 0 : double_of(sign, v < 0 ? 0 - (uint32_t)v : (uint32_t)v, 0);
}

uint64_t __udivdi3(uint64_t n, uint64_t d) {
    uint64_t q = 0, rest = 0;
    for (int i = 63; i >= 0; i--) {
        rest = rest << 1 | (n >> i & 1);
        q <<= 1;
        if (rest >= d) {
            rest -= d;
            q |= 1;
        }
    }
    return q;
}

uint64_t __muldi3(uint64_t a, uint64_t b) {
    uint32_t a0 = a & 0xffff, a1 = (uint32_t)a >> 16, b0 = b & 0xffff, b1 = (uint32_t)b >> 16;
    uint32_t middle = a1 * b0 + (a0 * b0 >> 16);
    uint32_t high = a1 * b1 + (middle >> 16);
    middle = (middle & 0xffff) + a0 * b1;
    high += (middle >> 16) + (uint32_t)(a >> 32) * (uint32_t)b + (uint32_t)a * (uint32_t)(b >> 32);
    return (uint64_t)high << 32 | (middle << 16 | (a0 * b0 & 0xffff));
}
