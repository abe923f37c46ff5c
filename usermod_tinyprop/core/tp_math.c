// Elementary functions and random numbers, made of single-precision operations and integer
// arithmetic only, so that every core gives the same bits. Definitions: DESIGN.md, "Numerics".
#include <string.h>

#include "../kernels/tp_kernels_int.h"
#include "tp_internal.h"

static uint32_t tp_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof(u));
    return u;
}

static float tp_float(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof(x));
    return x;
}

// 2^e for a normal result.
static float tp_pow2(int32_t e) {
    return tp_float((uint32_t)(e + 127) << 23);
}

bool tp_isfinite(float x) {
    return (tp_bits(x) & 0x7f800000u) != 0x7f800000u;
}

// Horner: c[0] is the coefficient of the highest power.
static float tp_polynomial(const float *c, size_t n, float x) {
    float y = c[0];
    for (size_t i = 1; i < n; i++) {
        y = y * x + c[i];
    }
    return y;
}

// exp(r) - 1 - r, divided by r: Taylor polynomial, |r| <= 0.35.
static float tp_exp_series(float r) {
    static const float c[] = {
        1.0f / 5040.0f, 1.0f / 720.0f, 1.0f / 120.0f, 1.0f / 24.0f, 1.0f / 6.0f, 1.0f / 2.0f};
    return tp_polynomial(c, 6, r) * r;
}

float tp_expf(float x) {
    if (x != x) {
        return x;
    }
    if (x > 88.72283f) {
        return tp_float(0x7f800000u);
    }
    if (x < -87.33654f) {
        return 0.0f;
    }
    int32_t n = (int32_t)(x * 1.44269504f + (x < 0.0f ? -0.5f : 0.5f));
    float nf = (float)n;
    // ln 2 in two parts; the first has few bits, so n times it is exact.
    float r = (x - nf * 0.693359375f) - nf * -2.12194440e-4f;
    float y = tp_exp_series(r) * r + r;
    y = y + 1.0f;
    int32_t half = n >> 1;
    return y * tp_pow2(half) * tp_pow2(n - half);
}

float tp_logf(float x) {
    uint32_t u = tp_bits(x);
    if (x != x || u == 0x7f800000u) {
        return x;
    }
    if (x <= 0.0f) {
        return x == 0.0f ? tp_float(0xff800000u) : tp_float(0x7fc00000u);
    }
    int32_t e = 0;
    if (u < 0x00800000u) { // subnormal
        u = tp_bits(x * 8388608.0f);
        e = -23;
    }
    // Split so that the mantissa lies in [sqrt(1/2), sqrt(2)).
    u += 0x3f800000u - 0x3f3504f3u;
    e += (int32_t)(u >> 23) - 127;
    float ef = (float)e;
    float f = tp_float((u & 0x007fffffu) + 0x3f3504f3u);
    float d = f - 1.0f;
    float s = d / (d + 2.0f);
    float z = s * s;
    float two_s = s + s;
    static const float c[] = {1.0f / 9.0f, 1.0f / 7.0f, 1.0f / 5.0f, 1.0f / 3.0f};
    float t = two_s * (z * tp_polynomial(c, 4, z));
    return ef * 0.693359375f + (two_s + (t + ef * -2.12194440e-4f));
}

float tp_sqrtf(float x) {
#if defined(__SSE2__) || (defined(__ARM_FP) && (__ARM_FP & 4)) || defined(__riscv_flen)
    return __builtin_sqrtf(x);
#else
    uint32_t u = tp_bits(x);
    if (x != x || u == 0x7f800000u || (u & 0x7fffffffu) == 0) {
        return x;
    }
    if (u & 0x80000000u) {
        return tp_float(0x7fc00000u);
    }
    int32_t e = (int32_t)(u >> 23);
    uint32_t f = u & 0x007fffffu;
    if (e == 0) {
        e = 1;
        while (f < 0x00800000u) {
            f <<= 1;
            e--;
        }
    } else {
        f |= 0x00800000u;
    }
    e -= 127;
    if (e & 1) {
        f <<= 1;
        e--;
    }
    // Digit by digit: 24 result bits and one more for rounding; the remainder decides ties
    // (which cannot occur: an exact half would need a 49-bit square).
    uint32_t q = 0, rest = 0, bit;
    uint32_t top = f << 7; // f < 2^25: two input bits a round, highest first
    for (bit = 0; bit < 25; bit++) {
        rest = (rest << 2) | (top >> 30);
        top <<= 2;
        uint32_t trial = (q << 2) | 1u;
        q <<= 1;
        if (rest >= trial) {
            rest -= trial;
            q |= 1u;
        }
    }
    q = (q + 1u) >> 1;
    return tp_float(((uint32_t)(e / 2 + 127) << 23) + (q - 0x00800000u));
#endif
}

float tp_sigmoidf(float x) {
    if (x >= 0.0f) {
        return 1.0f / (1.0f + tp_expf(-x));
    }
    float e = tp_expf(x);
    return e / (1.0f + e);
}

float tp_tanhf(float x) {
    float u = x < 0.0f ? -x : x;
    u = u + u;
    float y;
    if (u > 20.0f) {
        y = 1.0f;
    } else {
        float q = u < 0.35f ? tp_exp_series(u) * u + u : tp_expf(u) - 1.0f;
        y = q / (q + 2.0f);
    }
    // Also the sign of a zero.
    return tp_float((tp_bits(y) & 0x7fffffffu) | (tp_bits(x) & 0x80000000u));
}

uint32_t tp_hash(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return x;
}

void tp_rng_seed(uint32_t rng[4], uint32_t seed) {
    for (uint32_t i = 0; i < 4; i++) {
        rng[i] = tp_hash(seed + (i + 1) * 0x9e3779b9u);
    }
}

#if !TP_KERNELS_ARMV6M

static uint32_t tp_rotl(uint32_t x, uint32_t k) {
    return (x << k) | (x >> (32 - k));
}

uint32_t tp_rng_next(uint32_t rng[4]) {
    uint32_t result = tp_rotl(rng[1] * 5u, 7) * 9u;
    uint32_t t = rng[1] << 9;
    rng[2] ^= rng[0];
    rng[3] ^= rng[1];
    rng[1] ^= rng[2];
    rng[0] ^= rng[3];
    rng[2] ^= t;
    rng[3] = tp_rotl(rng[3], 11);
    return result;
}

#endif

uint32_t tp_permute(uint32_t i, uint32_t n, uint32_t key) {
    if (i >= n) {
        return i; // the walk below might never come back under n
    }
    uint32_t h = 0;
    while (h < 16 && (n - 1u) >> (2 * h) != 0) {
        h++;
    }
    uint32_t mask = ((uint32_t)1 << h) - 1u;
    do {
        uint32_t left = i >> h, right = i & mask;
        for (uint32_t r = 1; r <= 4; r++) {
            uint32_t t = left ^ (tp_hash(right + key + r * 0x9e3779b9u) & mask);
            left = right;
            right = t;
        }
        i = (left << h) | right;
    } while (i >= n);
    return i;
}
