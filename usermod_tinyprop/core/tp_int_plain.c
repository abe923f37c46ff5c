// Integer training: rows without weights - pooling, Add, Dropout (see tp_int.c).
#include <string.h>

#include "tp_int_work.h"

#if TP_INTEGER

// Pooling, Add, Dropout: z of output i, exponent e.
typedef struct {
    int32_t e, shift, keep, limit;
    const uint8_t *other;
    int32_t shift_other;
} tp_int_plain_t;

static tp_int_plain_t tp_int_plain(const tp_int_t *k) {
    tp_model_t *m = k->m;
    const tp_layer_t *t = k->t;
    tp_int_plain_t p = {k->in->e_a, 0, 1, 0, NULL, 0};
    if (t->kind == TP_LAYER_ADD) {
        int32_t e = tp_model_ranges(m)[t->other].e_a, apart = p.e - e;
        p.other = (uint8_t *)tp_map(m, t->other);
        // The larger exponent's values move up, as far as there is room; then the others down.
        int32_t up = apart < 0 ? -apart : apart, down = up > 20 ? up - 20 : 0;
        up = up - down;
        p.shift = apart > 0 ? -up : down;
        p.shift_other = apart > 0 ? down : -up;
        p.e = (apart > 0 ? p.e : e) - up;
    } else if (t->kind == TP_LAYER_DROPOUT) {
        float keep = 16384.0f / (1.0f - t->slope) + 0.5f;
        p.e -= 14;
        p.keep = m->dropout_key == 0 ? 16384 : keep < 1048576.0f ? (int32_t)keep : 1048576;
        p.limit = m->dropout_key == 0 ? 0 : (int32_t)(t->slope * 16777216.0f);
    }
    return p;
}

static bool tp_int_dropped(const tp_int_t *k, uint32_t i, int32_t limit) {
    uint32_t key = k->m->dropout_key + k->l * 0x9e3779b9u + i * 0x85ebca6bu;
    return limit > 0 && tp_hash(key) >> 8 < (uint32_t)limit;
}

// z of output i of a row that works value by value.
static int64_t tp_int_plain_at(const tp_int_t *k, const tp_int_plain_t *p, uint32_t i) {
    int64_t z = tp_shift(tp_load(k->m, k->x, i), p->shift);
    if (p->other != NULL) {
        return z + tp_shift(tp_load(k->m, p->other, i), p->shift_other);
    }
    return tp_int_dropped(k, i, p->limit) ? 0 : z * p->keep;
}

// They may write where they read: first look, then write.
void tp_int_plain_forward(const tp_int_t *k) {
    tp_int_plain_t p = tp_int_plain(k);
    uint32_t n = tp_row_size(k->t);
    int64_t peak = 0;
    for (uint32_t i = 0; i < n && !k->last && !tp_squashes(k->t); i++) {
        int64_t z = tp_int_plain_at(k, &p, i);
        z = z >= 0 ? z : k->t->activation == TP_RELU ? 0 : -z;
        peak = z > peak ? z : peak;
    }
    if (!k->last && !tp_squashes(k->t)) {
        while (tp_int_grows(k->m, k->l + 1u, peak, p.e)) {
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        tp_int_finish(k, i, tp_int_plain_at(k, &p, i), p.e);
    }
}

bool tp_int_pool_forward(const tp_int_t *k) {
    const tp_layer_t *t = k->t;
    bool max = t->kind == TP_LAYER_MAX_POOL;
    int32_t e = k->in->e_a;
    int64_t peak = 0;
    size_t i = 0;
    if (max) {
        k->range->e_a = k->in->e_a;
    }
    for (int32_t place = 0; place < t->h * t->w; place++) {
        tp_k_window_t q = tp_int_window(&k->g, place / t->w, place % t->w, 0);
        tp_k_inside_t in = tp_k_inside(&q);
        uint32_t places = (uint32_t)((in.y_end - in.y) * (in.x_end - in.x));
        int32_t up = 31 - tp_map_bits(k->m) - tp_bit_length(places);
        up = up < 0 ? 0 : up > 8 ? 8 : up;
        for (int32_t c = 0; c < t->c; c++, i++) {
            int32_t most = INT32_MIN;
            int64_t sum = 0;
            for (int32_t y = in.y; y < in.y_end; y++) {
                for (int32_t x = in.x; x < in.x_end; x++) {
                    int32_t v = tp_load(k->m, k->x, tp_place(&q, y, x) + (size_t)c);
                    most = v > most ? v : most;
                    sum += v;
                }
            }
            if (max) {
                if (k->last) {
                    tp_int_finish(k, i, most, e);
                } else {
                    tp_store(k->m, k->out, i, most);
                }
                continue;
            }
            // Windows at an edge have fewer places; their unit is the same.
            int64_t z = tp_round_divide(sum * ((int64_t)1 << up), places);
            z = tp_int_finish(k, i, z * ((int64_t)1 << (8 - up)), e - 8);
            peak = z > peak ? z : peak;
        }
    }
    return !max && !k->last && tp_int_grows(k->m, k->l + 1u, peak, e - 8);
}

// --- Backward ---

int32_t tp_int_join(tp_model_t *m, uint32_t source, bool first, int32_t e, const int32_t *unless) {
    if (source == 0 || tp_table(m)[source - 1u].off_d == 0) {
        return -1;
    }
    int32_t *d = tp_int_delta(m, source - 1u);
    tp_range_t *range = &tp_model_ranges(m)[source];
    uint32_t n = tp_row_size(&tp_table(m)[source - 1u]);
    if (first) {
        if (d != unless) {
            memset(d, 0, n * sizeof(*d));
        }
        range->e_d = (int16_t)e;
        return 0;
    }
    int32_t common = (e > range->e_d ? e : range->e_d) + 2;
    for (uint32_t i = 0; i < n; i++) {
        d[i] = tp_shift(d[i], common - range->e_d);
    }
    range->e_d = (int16_t)common;
    return common - e;
}

// Pooling, Add, Dropout pass d on.
void tp_int_pass_on(const tp_int_t *k) {
    tp_model_t *m = k->m;
    tp_layer_t *t = k->t;
    bool mean = t->kind == TP_LAYER_AVERAGE_POOL, first = (t->flags & TP_ROW_FIRST_SOURCE) != 0;
    if (t->kind == TP_LAYER_ADD) {
        bool first_other = (t->flags & TP_ROW_FIRST_OTHER) != 0;
        int32_t s = tp_int_join(m, t->other, first_other, k->range->e_d, k->d);
        for (uint32_t i = 0; i < tp_row_size(t) && s >= 0; i++) {
            int32_t *to = tp_int_delta(m, t->other - 1u);
            to[i] = to == k->d ? k->d[i] : to[i] + tp_shift(k->d[i], s);
        }
    }
    int32_t s = tp_int_join(m, t->source, first, k->range->e_d - (mean ? 8 : 0), k->d);
    if (s < 0) {
        return;
    }
    int32_t *to = tp_int_delta(m, t->source - 1u);
    if (t->kind >= TP_LAYER_ADD) {
        tp_int_plain_t p = tp_int_plain(k);
        for (uint32_t i = 0; i < tp_row_size(t); i++) {
            int32_t v = k->d[i];
            if (t->kind == TP_LAYER_DROPOUT) {
                int64_t kept = ((int64_t)v * p.keep + 8192) >> 14;
                v = tp_int_dropped(k, i, p.limit) ? 0 : (int32_t)kept;
            }
            to[i] = to == k->d ? v : to[i] + tp_shift(v, s);
        }
        return;
    }
    const int32_t *d = k->d;
    for (int32_t place = 0; place < t->h * t->w; place++) {
        tp_k_window_t q = tp_int_window(&k->g, place / t->w, place % t->w, 0);
        tp_k_inside_t in = tp_k_inside(&q);
        uint32_t places = (uint32_t)((in.y_end - in.y) * (in.x_end - in.x));
        for (int32_t c = 0; c < t->c; c++, d++) {
            int32_t share = tp_shift(mean ? tp_round_divide((int64_t)*d * 256, places) : *d, s);
            size_t first_at = tp_place(&q, in.y, in.x) + (size_t)c;
            for (int32_t y = in.y; y < in.y_end; y++) {
                for (int32_t x = in.x; x < in.x_end; x++) {
                    size_t at = tp_place(&q, y, x) + (size_t)c;
                    bool more = tp_load(m, k->x, at) > tp_load(m, k->x, first_at);
                    first_at = more ? at : first_at;
                    to[at] += mean ? share : 0;
                }
            }
            to[first_at] += mean ? 0 : share;
        }
    }
}

#endif
