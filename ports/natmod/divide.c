// a / b in single precision by integers, rounded to nearest even. Subnormal numbers count as zero
// and become zero.
#include <stdint.h>

float tp_divide(float a, float b);

typedef union {
    float f;
    uint32_t u;
} bits_t;

float tp_divide(float a, float b) {
    bits_t x = {a}, y = {b}, r;
    uint32_t sign = (x.u ^ y.u) & 0x80000000u;
    int32_t ex = (x.u >> 23) & 255, ey = (y.u >> 23) & 255;
    uint32_t mx = x.u & 0x7fffffu, my = y.u & 0x7fffffu;
    if ((ex == 255 && mx != 0) || (ey == 255 && my != 0) || (ex == 255 && ey == 255) ||
        (ex == 0 && ey == 0)) {
        r.u = 0x7fc00000u;
        return r.f;
    }
    if (ex == 255 || ey == 0) {
        r.u = sign | 0x7f800000u;
        return r.f;
    }
    r.u = sign;
    if (ex == 0 || ey == 255) {
        return r.f;
    }
    mx |= 0x800000u;
    my |= 0x800000u;
    int32_t e = ex - ey + 127;
    if (mx < my) {
        mx <<= 1;
        e--;
    }
    // 24 bits of quotient, the first of them 1, and one more to round by.
    uint32_t q = 0;
    for (int i = 0; i < 25; i++) {
        q <<= 1;
        if (mx >= my) {
            mx -= my;
            q |= 1;
        }
        mx <<= 1;
    }
    q = (q >> 1) + (q & 1 & ((mx != 0) | (q >> 1)));
    // Rounding up to 2^24 carries into the exponent by itself.
    if (e <= 0) {
        return r.f;
    }
    q = ((uint32_t)(e - 1) << 23) + q;
    r.u = sign | (q < 0x7f800000u ? q : 0x7f800000u);
    return r.f;
}
