// Operations on whole vectors: conversion, activations, softmax, top-k selection.
#include <string.h>
#ifdef __ARM_FEATURE_SAT
#include <arm_acle.h>
#define TP_UNROLLED _Pragma("GCC unroll 8")
#else
#define TP_UNROLLED
#endif

#include "../kernels/tp_kernels.h"
#include "tp.h"

int32_t tp_view_int(const tp_view_t *v, uint32_t i) {
    switch (v->dtype) {
        case TP_I32:
            return ((const int32_t *)v->data)[i];
        case TP_I16:
            return ((const int16_t *)v->data)[i];
        case TP_I8:
            return ((const int8_t *)v->data)[i];
        default:
            return ((const uint8_t *)v->data)[i];
    }
}

int tp_convert(float *out, const tp_view_t *view, const float *scale, const float *offset,
    uint32_t n_scale, uint32_t *bad) {
    uint32_t n = view->count;
    uint8_t t = view->dtype;
    if (t == TP_F32) {
        const float *x = view->data;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t bits; // as tp_isfinite, without a call for each
            memcpy(&bits, &x[i], sizeof(bits));
            if ((bits & 0x7f800000u) == 0x7f800000u) {
                *bad = i;
                return TP_ERR_NONFINITE;
            }
        }
        memmove(out, x, n * sizeof(float));
        return TP_OK;
    }
    if (t != TP_I32 && t != TP_I16 && t != TP_I8 && t != TP_U8) {
        return TP_ERR_DTYPE;
    }
    if (n_scale != 1) {
        for (uint32_t i = 0; i < n; i++) {
            out[i] = (float)tp_view_int(view, i);
        }
        for (uint32_t i = 0, j = 0; n_scale != 0 && i < n; i++) {
            out[i] = out[i] * scale[j] + offset[j];
            if (!tp_isfinite(out[i])) {
                *bad = i;
                return TP_ERR_NONFINITE;
            }
            j = j + 1 == n_scale ? 0 : j + 1;
        }
        return TP_OK;
    }
    // Neighbours are often the same (background): what it became is remembered.
    const uint8_t *bytes = view->data;
    int32_t last = 0;
    float value = 0.0f * scale[0] + offset[0];
    for (uint32_t i = 0; i < n; i++) {
        int32_t q = t == TP_U8 ? bytes[i] : tp_view_int(view, i);
        if (q != last) {
            last = q;
            value = (float)q * scale[0] + offset[0];
            if (!tp_isfinite(value)) {
                *bad = i;
                return TP_ERR_NONFINITE;
            }
        }
        out[i] = value;
    }
    return TP_OK;
}

void tp_activate(float *a, size_t n, uint8_t activation, float slope) {
    for (size_t i = 0; i < n; i++) {
        switch (activation) {
            case TP_RELU:
                // !(a > 0) would hide a NaN as 0; the loss must see it.
                a[i] = a[i] <= 0.0f ? 0.0f : a[i];
                break;
            case TP_LEAKY_RELU:
                a[i] = a[i] < 0.0f ? a[i] * slope : a[i];
                break;
            case TP_SIGMOID:
                a[i] = tp_sigmoidf(a[i]);
                break;
            case TP_TANH:
                a[i] = tp_tanhf(a[i]);
                break;
            default:
                return;
        }
    }
}

void tp_activate_backward(float *d, const float *a, size_t n, uint8_t activation, float slope) {
    for (size_t i = 0; i < n; i++) {
        switch (activation) {
            case TP_RELU:
                d[i] = a[i] > 0.0f ? d[i] : 0.0f;
                break;
            case TP_LEAKY_RELU:
                d[i] = a[i] > 0.0f ? d[i] : d[i] * slope;
                break;
            case TP_SIGMOID:
                d[i] = d[i] * (a[i] * (1.0f - a[i]));
                break;
            case TP_TANH:
                d[i] = d[i] * (1.0f - a[i] * a[i]);
                break;
            default:
                return;
        }
    }
}

float tp_softmax(float *z, size_t n, float *max_out) {
    float max = z[0];
    for (size_t i = 1; i < n; i++) {
        max = z[i] > max ? z[i] : max;
    }
    for (size_t i = 0; i < n; i++) {
        z[i] = tp_expf(z[i] - max);
    }
    float sum = tp_k_sum_f32(z, n);
    for (size_t i = 0; i < n; i++) {
        z[i] = z[i] / sum;
    }
    if (max_out != NULL) {
        *max_out = max;
    }
    return tp_logf(sum);
}

// Order of magnitude as an integer: for finite floats |a| < |b| iff key(a) < key(b).
static uint32_t tp_key(float d) {
    uint32_t u;
    memcpy(&u, &d, sizeof(u));
    return u & 0x7fffffffu;
}

// So many values that may be the last ones kept are compared with each other.
#define TP_RIVALS 32u
#define TP_DIGIT 7u
// A long vector is first looked at through a window of bins as narrow as 1/64 of an octave, which
// mostly leaves few rivals. Its top lies half an octave above the largest of some samples.
#define TP_WINDOW 256
#define TP_WINDOW_REST 17u // bits of a key behind those that tell its bin
#define TP_WINDOW_ABOVE 32
#define TP_SAMPLES 32u

// Of n values of d, at these places, all but the `want` largest become 0.
static void tp_decide_rivals(float *d, uint32_t *places, uint32_t n, uint32_t want) {
    for (; want > 0; want--, n--) {
        uint32_t best = 0, best_key = tp_key(d[places[0]]);
        for (uint32_t i = 1; i < n; i++) {
            uint32_t key = tp_key(d[places[i]]);
            if (key > best_key) {
                best = i;
                best_key = key;
            }
        }
        memmove(places + best, places + best + 1, (n - best - 1u) * sizeof(*places));
    }
    while (n > 0) {
        d[places[--n]] = 0.0f;
    }
}

static inline int32_t tp_bin(int32_t i) {
#ifdef __ARM_FEATURE_SAT
    return (int32_t)__usat(i, 8);
#else
    return i < 0 ? 0 : i < TP_WINDOW ? i : TP_WINDOW - 1;
#endif
}

#if TP_MAPS

// What a share of the samples that is well above want / n reaches: few values are below it that are
// kept after all. 0 where that would be nearly all of them. *top: the largest one.
static uint32_t tp_reached(const float *d, uint32_t n, uint32_t want, uint32_t *top) {
    uint32_t most[TP_SAMPLES / 2u], rank = 2u * TP_SAMPLES * want / n + 4u, found = 0;
    bool few = rank <= TP_SAMPLES / 2u;
    rank = few ? rank : 1u;
    for (uint32_t i = 0; i < n; i += n / TP_SAMPLES) {
        uint32_t key = tp_key(d[i]), j = found;
        if (found == rank) {
            if (key <= most[rank - 1u]) {
                continue;
            }
            j--;
        } else {
            found++;
        }
        for (; j > 0 && most[j - 1u] < key; j--) {
            most[j] = most[j - 1u];
        }
        most[j] = key;
    }
    *top = most[0];
    return few ? most[rank - 1u] : 0;
}

#else

// Dense layers alone are too small for it to pay.
static uint32_t tp_reached(const float *d, uint32_t n, uint32_t want, uint32_t *top) {
    (void)want;
    *top = 0;
    for (uint32_t i = 0; i < n; i += n / TP_SAMPLES) {
        *top = tp_key(d[i]) > *top ? tp_key(d[i]) : *top;
    }
    return 0;
}

#endif

// Through the window: the bits that the k-th largest key begins with, one to the left, or 0 where
// it is not in sight. `want` becomes how many of the `rivals` with these bits are kept.
static uint32_t tp_window_found(uint16_t *bins, const float *d, uint32_t n, uint32_t *want,
    uint32_t *rivals) {
    uint32_t top, low = tp_reached(d, n, *want, &top) >> TP_WINDOW_REST;
    int32_t base = (int32_t)(top >> TP_WINDOW_REST) + TP_WINDOW_ABOVE - (TP_WINDOW - 1);
    if (base <= 0) {
        return 0;
    }
    // Bin 0 takes what is below as well.
    low = (int32_t)low > base ? low : (uint32_t)base + 1u;
    low <<= TP_WINDOW_REST + 1u;
    memset(bins, 0, TP_WINDOW * sizeof(*bins));
    uint32_t first = 0;
#if TP_KERNELS_VFP && TP_MAPS
    _Static_assert(TP_WINDOW == 256 && TP_WINDOW_REST == 17u, "as tp_k_bins_f32 has them");
    first = (uint32_t)tp_k_bins_f32(bins, d, n, low, base);
#endif
    TP_UNROLLED
    for (uint32_t i = first; i < n; i++) {
        uint32_t u;
        memcpy(&u, &d[i], sizeof(u));
        u <<= 1; // without the sign
        if (!TP_MAPS || u >= low) {
            bins[tp_bin((int32_t)(u >> (TP_WINDOW_REST + 1u)) - base)]++;
        }
    }
    int32_t b = TP_WINDOW - 1;
    uint32_t left = *want;
    while (b > 0 && bins[b] < left) {
        left -= bins[b--];
    }
    if (b == 0 || b == TP_WINDOW - 1) {
        return 0;
    }
    *want = left;
    *rivals = bins[b];
    return (uint32_t)(base + b) << (TP_WINDOW_REST + 1u);
}

uint32_t tp_topk(float *d, size_t n, uint32_t k) {
    union {
        uint32_t digit[1u << TP_DIGIT];
        uint16_t window[TP_WINDOW];
    } bins;
    uint32_t places[TP_RIVALS];
    // The k-th largest key, some bits at a time from the top: of the keys that share the bits
    // found so far, count how often each next digit occurs. `want` of them are kept. Keys stand
    // one bit to the left here, without the sign.
    uint32_t found = 0, want = k, rest = 32u, rivals = (uint32_t)n;
    if (n >= 8u * TP_SAMPLES && n < 65536u && k < n) {
        found = tp_window_found(bins.window, d, (uint32_t)n, &want, &rivals);
        rest = found != 0 ? TP_WINDOW_REST + 1u : rest;
    }
    do {
        if (found == 0 && (rivals <= TP_RIVALS || k >= n || rest < 32u)) {
            // Zeros may be among them, which are never kept.
            uint32_t nonzero = tp_k_count_f32(d, n);
            if (nonzero <= k) {
                return nonzero;
            }
        }
        if (rivals <= TP_RIVALS || rivals == want) {
            break;
        }
        uint32_t digit = rest < TP_DIGIT ? rest : TP_DIGIT, shift = rest - digit;
        uint32_t b = (1u << digit) - 1u;
        memset(bins.digit, 0, sizeof(bins.digit));
        for (size_t i = 0; i < n; i++) {
            uint32_t key = ((tp_key(d[i]) << 1) ^ found) >> shift;
            if (key <= b) {
                bins.digit[key]++;
            }
        }
        while (bins.digit[b] < want) {
            want -= bins.digit[b--];
        }
        rivals = bins.digit[b];
        found |= b << shift;
        rest = shift;
    } while (rest > 0);
    // What is below goes, what is above stays.
    uint32_t last = found | (uint32_t)(((uint64_t)1 << rest) - 1u), seen = 0;
    if (TP_KERNELS_VFP && rivals <= TP_RIVALS) {
        seen = (uint32_t)tp_k_cut_f32(places, d, n, found, last);
    } else {
        for (float *p = d, *end = d + n; p != end;) {
            uint32_t key = tp_key(*p++) << 1;
            if (key < found) {
                p[-1] = 0.0f;
            } else if (key <= last) {
                if (rivals <= TP_RIVALS) {
                    places[seen] = (uint32_t)(p - d) - 1u;
                } else if (seen >= want) {
                    p[-1] = 0.0f;
                }
                seen++;
            }
        }
    }
    if (rivals <= TP_RIVALS) {
        tp_decide_rivals(d, places, seen, want);
    }
    return k;
}

#if TP_INTEGER

// So few values are ranked by numbers that differ: size, then place, where the first one wins.
#define TP_FEW_BITS 7u
#define TP_FEW (1u << TP_FEW_BITS)

// Hoare: until the k largest of list .. end, which all differ, come before cut. Something lies before
// list.
static __attribute__((noinline)) void tp_rank(uint32_t *list, uint32_t *end, const uint32_t *cut) {
    while (list < --end) {
        uint32_t *i = list, *j = end, middle = i[(j - i) / 2];
        do {
            uint32_t high, low;
            while ((high = *i) > middle) {
                i++;
            }
            while ((low = *j) < middle) {
                j--;
            }
            if (i <= j) {
                *i++ = low;
                *j-- = high;
            }
        } while (i <= j);
        if (cut > j && cut < i) {
            break;
        }
        end = cut <= j ? j + 1 : end + 1;
        list = cut >= i ? i : list;
    }
}

// As tp_topk_int; UINT32_MAX where a value is too large. A function of its own for its stack.
static __attribute__((noinline)) uint32_t tp_topk_few(int32_t *d, uint32_t n, uint32_t k) {
    uint32_t list[TP_FEW + 1u], *to = list + 1, most = 0;
    int32_t *last = d + n - 1;
    for (; d <= last; d++) {
        if (*d != 0) {
            uint32_t size = *d < 0 ? 0u - (uint32_t)*d : (uint32_t)*d;
            *to++ = size << TP_FEW_BITS | (uint32_t)(last - d);
            most |= size;
        }
    }
    uint32_t *cut = list + 1 + k;
    if (cut >= to) {
        return (uint32_t)(to - list) - 1u;
    }
    if (most >> (32u - TP_FEW_BITS) != 0) {
        return UINT32_MAX;
    }
    tp_rank(list + 1, to, cut);
    while (cut < to) {
        last[-(int32_t)(*cut++ & (TP_FEW - 1u))] = 0;
    }
    return k;
}

// As bits that compare like those of floats: sign, then size moved to the top.
uint32_t tp_topk_int(int32_t *d, size_t n, uint32_t k) {
    typedef uint32_t __attribute__((may_alias)) bits_t;
    uint32_t few = n <= TP_FEW && k < n ? tp_topk_few(d, (uint32_t)n, k) : UINT32_MAX;
    if (few != UINT32_MAX) {
        return few;
    }
    uint32_t most = 0, up = 0, some = 0;
    for (size_t i = 0; i < n; i++) {
        most |= d[i] < 0 ? 0u - (uint32_t)d[i] : (uint32_t)d[i];
        some += d[i] != 0;
    }
    if (some <= k) {
        return some;
    }
    while (up < 30u && most >> (30u - up) == 0) {
        up++;
    }
    bits_t *bits = (bits_t *)d;
    for (size_t i = 0; i < n; i++) {
        uint32_t size = d[i] < 0 ? 0u - (uint32_t)d[i] : (uint32_t)d[i];
        bits[i] = (d[i] < 0 ? 0x80000000u : 0u) | size << up;
    }
    k = tp_topk((float *)(void *)d, n, k);
    for (size_t i = 0; i < n; i++) {
        int32_t size = (int32_t)((bits[i] & 0x7fffffffu) >> up);
        bits[i] = (uint32_t)(bits[i] >> 31 != 0 ? -size : size);
    }
    return k;
}

#endif
