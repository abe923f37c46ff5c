// Operations on whole vectors: conversion, activations, softmax, top-k selection.
#include <string.h>

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
            if (!tp_isfinite(x[i])) {
                *bad = i;
                return TP_ERR_NONFINITE;
            }
            out[i] = x[i];
        }
        return TP_OK;
    }
    if (t != TP_I32 && t != TP_I16 && t != TP_I8 && t != TP_U8) {
        return TP_ERR_DTYPE;
    }
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

// The k-th largest of keys[0..n), 1 <= k <= n; reorders keys. Expected O(n).
static uint32_t tp_kth_largest(uint32_t *keys, size_t n, size_t k) {
    size_t lo = 0, hi = n, want = k - 1;
    for (;;) {
        uint32_t pivot = keys[lo + (hi - lo) / 2];
        // [lo, a) > pivot, [a, i) == pivot, [b, hi) < pivot
        size_t a = lo, i = lo, b = hi;
        while (i < b) {
            uint32_t v = keys[i];
            if (v > pivot) {
                keys[i++] = keys[a];
                keys[a++] = v;
            } else if (v < pivot) {
                keys[i] = keys[--b];
                keys[b] = v;
            } else {
                i++;
            }
        }
        if (want < a) {
            hi = a;
        } else if (want >= b) {
            lo = b;
        } else {
            return pivot;
        }
    }
}

uint32_t tp_topk(float *d, size_t n, uint32_t k, uint32_t *keys) {
    size_t nonzero = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t key = tp_key(d[i]);
        keys[nonzero] = key;
        nonzero += key != 0;
    }
    if (nonzero <= k) {
        return (uint32_t)nonzero;
    }
    uint32_t limit = k == 0 ? 0xffffffffu : tp_kth_largest(keys, nonzero, k);
    uint32_t above = 0;
    for (size_t i = 0; i < n; i++) {
        above += tp_key(d[i]) > limit;
    }
    uint32_t ties = k - above;
    for (size_t i = 0; i < n; i++) {
        uint32_t key = tp_key(d[i]);
        bool tie = key == limit && ties > 0;
        ties -= tie;
        if (key <= limit && !tie) {
            d[i] = 0.0f;
        }
    }
    return k;
}
