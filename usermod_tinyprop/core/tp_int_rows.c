// Integer training: forward and backward pass of the rows (see tp_int.c).
#include <string.h>

#include "tp_int_work.h"

#if TP_INTEGER

// The columns of x that are not zero.
static tp_ki_index_t tp_int_index_all(const tp_int_t *k, const void *x, uint32_t n) {
    uint16_t *to = k->columns;
    return (tp_ki_index_t){to, k->wide ? tp_ki_index_i16(to, x, n) : tp_ki_index_i8(to, x, n)};
}

// The same of the map of a dense layer. That of the input, often the longest, stays for the backward
// pass if those of the other layers find room behind it.
static void tp_int_index_map(tp_int_t *k, uint32_t n) {
    tp_model_t *m = k->m;
    uint32_t before = m->listed;
    if (before > 0 && k->t->source == 0) {
        k->index = (tp_ki_index_t){k->columns, before - 1u};
        return;
    }
    before &= ~1u; // at a multiple of 4 bytes
    bool fits = before + n <= m->index;
    k->columns += fits ? before : 0;
    k->index = tp_int_index_all(k, k->x, n);
    m->listed = k->t->source == 0 ? (uint16_t)(k->index.total + 1u) : fits ? m->listed : 0;
}

static tp_int_t tp_int_begin_row(tp_model_t *m, uint32_t l) {
    tp_int_t k;
    tp_layer_t *t = &tp_table(m)[l];
    k.m = m;
    k.t = t;
    k.l = l;
    k.g = tp_geometry(t, tp_map_shape(m, t->source));
    k.wide = tp_is_i16(m);
    k.bytes = k.wide ? 2u : 1u;
    k.last = l + 1u == m->n_layers;
    k.x = (uint8_t *)tp_map(m, t->source);
    k.out = (uint8_t *)tp_at(m, t->off_act);
    k.d = t->off_d != 0 ? tp_int_delta(m, l) : NULL;
    k.w = tp_layer_weights(m, l);
    k.b = k.w != NULL ? tp_layer_bias(m, l) : NULL;
    k.in = &tp_model_ranges(m)[t->source];
    k.range = &tp_model_ranges(m)[l + 1u];
    k.slope = tp_quantize(t->slope, -15);
    k.skip = false;
    k.columns = (uint16_t *)(void *)tp_at(m, m->off_scratch);
    if (k.w != NULL && m->zero_skip > 0) {
        uint32_t n = tp_elements(k.g.in);
        if (t->kind == TP_LAYER_DENSE) {
            tp_int_index_map(&k, n);
        } else {
            m->listed = 0;
            k.index.total = k.wide ? tp_ki_count_i16((const void *)k.x, n)
                                   : tp_ki_count_i8((const void *)k.x, n);
        }
        k.skip = (uint64_t)k.index.total * 100u <= (uint64_t)n * m->zero_skip;
    }
    uint32_t at = m->off_scratch + ((m->index * 2u + 3u) & ~3u);
    k.gathered = (uint8_t *)tp_at(m, at);
    at += k.g.contiguous ? 0 : (k.g.fan_in * k.bytes + 3u) & ~3u;
    k.spare = (int32_t *)(void *)tp_at(m, at);
    return k;
}

static const void *tp_int_patch(const tp_int_t *k, const tp_k_window_t *q) {
    if (k->g.contiguous) {
        return k->x + tp_place(q, q->y0, q->x0) * k->bytes;
    }
    size_t n = (size_t)q->n * k->bytes;
    tp_k_inside_t in = tp_k_inside(q);
    int32_t run = tp_run(q, &in);
    if (in.y_end - in.y < q->kh || in.x_end - in.x < q->kw) {
        memset(k->gathered, 0, k->g.fan_in * k->bytes);
    }
    for (int32_t y = in.y; y < in.y_end; y++) {
        for (int32_t x = in.x; x < in.x_end; x += run) {
            size_t at = tp_tap(q, y, x);
            memcpy(k->gathered + at * n, k->x + tp_place(q, y, x) * k->bytes, n * (size_t)run);
        }
    }
    return k->gathered;
}

// map = map + patch * 2^-s, as far as the patch lies on it.
static void tp_int_scatter(int32_t *map, const int32_t *patch, const tp_k_window_t *q, int32_t s) {
    tp_k_inside_t in = tp_k_inside(q);
    int32_t run = tp_run(q, &in);
    for (int32_t y = in.y; y < in.y_end; y++) {
        for (int32_t x = in.x; x < in.x_end; x += run) {
            const int32_t *from = patch + tp_tap(q, y, x) * (size_t)q->n;
            int32_t *to = map + tp_place(q, y, x);
            for (int32_t j = 0; j < q->n * run; j++) {
                to[j] += s == 0 ? from[j] : tp_shift(from[j], s);
            }
        }
    }
}

// sum = sum + d * the patch, as far as it lies on the map.
static void tp_int_add_patch(const tp_int_t *k, int32_t *sum, int32_t d, const tp_k_window_t *q) {
    tp_k_inside_t in = tp_k_inside(q);
    int32_t run = tp_run(q, &in);
    for (int32_t y = in.y; y < in.y_end; y++) {
        for (int32_t x = in.x; x < in.x_end; x += run) {
            int32_t *to = sum + tp_tap(q, y, x) * (size_t)q->n;
            const void *from = k->x + tp_place(q, y, x) * k->bytes;
            size_t n = (size_t)(q->n * run);
            if (n == 1) {
                *to += d * tp_load(k->m, from, 0);
            } else if (k->wide) {
                tp_ki_axpy_i16(to, d, from, n);
            } else {
                tp_ki_axpy_i8(to, d, from, n);
            }
        }
    }
}

// The columns of a patch that are not zero; NULL where all are taken.
static const tp_ki_index_t *tp_int_index(const tp_int_t *k, tp_ki_index_t *index,
    const void *patch) {
    if (!k->skip || k->t->kind == TP_LAYER_DENSE) {
        return k->skip ? &k->index : NULL;
    }
    *index = tp_int_index_all(k, patch, k->g.fan_in);
    return index;
}

// --- Forward ---

int64_t tp_int_finish(const tp_int_t *k, size_t i, int64_t z, int32_t e_z) {
    uint8_t activation = k->t->activation;
    if (activation >= TP_SIGMOID) {
        int32_t t = tp_clip(tp_shift(z, TP_INT_OUT - e_z), 32767);
        int32_t v = tp_int_squash(activation, t, k->last ? 12 : tp_map_bits(k->m));
        if (k->last) {
            ((int32_t *)(void *)k->out)[i] = v;
        } else {
            tp_store(k->m, k->out, i, tp_clip(v, (1 << tp_map_bits(k->m)) - 1));
        }
        return 0;
    }
    z = activation == TP_RELU && z < 0 ? 0 : z;
    int32_t v = tp_shift(z, (k->last ? TP_INT_OUT : k->range->e_a) - e_z);
    v = tp_clip(v, k->last ? 1 << 22 : (1 << tp_map_bits(k->m)) - 1);
    if (activation == TP_LEAKY_RELU && v < 0) {
        v = (int32_t)(((int64_t)v * k->slope + 16384) >> 15);
    }
    if (k->last) {
        ((int32_t *)(void *)k->out)[i] = v;
        return 0;
    }
    tp_store(k->m, k->out, i, v);
    return z < 0 ? -z : z;
}

// z * 2^e and the biases b become the outputs from i on. Returns the largest size, see above.
static int64_t tp_int_finish_all(const tp_int_t *k, size_t i, const int32_t *z, const int32_t *b,
    uint32_t n, int32_t e) {
    int32_t up = e - TP_INT_BIAS, down = (k->last ? TP_INT_OUT : k->range->e_a) - e;
    int32_t limit = k->last ? 1 << 22 : (1 << tp_map_bits(k->m)) - 1;
    bool relu = k->t->activation == TP_RELU;
    // What 32 bits hold, nearly always, takes a fifth of the time.
    bool usual =
        (relu || k->t->activation == TP_LINEAR) && tp_clip(up, 15) == up && down > -8 && down < 31;
    uint32_t bytes = k->last ? 4u : k->bytes, size = 0;
    tp_ki_finish_t by = {-up, down, limit, relu};
    int64_t peak = 0;
    for (uint32_t o = 0;; o++) {
        uint8_t *out = k->out + (i + o) * bytes;
        o += usual ? tp_ki_finish(out, bytes, z + o, b + o, n - o, &by, &size) : 0;
        if (o >= n) {
            return size > peak ? size : peak;
        }
        int64_t bias =
            up > 0 ? tp_shift(b[o], up) : (int64_t)b[o] * ((int64_t)1 << (up < -31 ? 31 : -up));
        bias = tp_int_finish(k, i + o, z[o] + bias, e);
        peak = bias > peak ? bias : peak;
    }
}

static uint32_t tp_int_lost_bits(const tp_int_t *k) {
    return k->wide ? (uint32_t)tp_bit_length((k->g.fan_in + 63u) / 64u - 1u) : 0;
}

// So many channels at once.
#define TP_INT_CHANNELS 16u

// Channel by channel, one filter each, no more than 64 taps: the outputs of one place. Returns the
// largest size, see above.
static int64_t tp_int_depthwise_at(const tp_int_t *k, int32_t y, int32_t x, int32_t e,
    uint64_t *macs) {
    uint32_t taps = k->g.fan_in, channels = k->g.groups;
    int64_t peak = 0;
    for (uint32_t c = 0; c < channels; c += TP_INT_CHANNELS) {
        int32_t z[TP_INT_CHANNELS] = {0};
        uint32_t n = channels - c < TP_INT_CHANNELS ? channels - c : TP_INT_CHANNELS;
        tp_k_window_t q = tp_int_window(&k->g, y, x, c);
        tp_k_inside_t in = tp_k_inside(&q);
        const uint8_t *w = k->w + (size_t)c * taps * k->bytes;
        for (int32_t v = in.y; v < in.y_end; v++) {
            for (int32_t u = in.x; u < in.x_end; u++) {
                const void *from = k->x + tp_place(&q, v, u) * k->bytes;
                const void *tap = w + tp_tap(&q, v, u) * k->bytes;
                if (k->wide) {
                    tp_ki_channels_i16(z, tap, taps, from, n);
                } else {
                    tp_ki_channels_i8(z, tap, taps, from, n);
                }
                if (k->skip) {
                    *macs += k->wide ? tp_ki_count_i16(from, n) : tp_ki_count_i8(from, n);
                }
            }
        }
        *macs += k->skip ? 0 : (uint64_t)n * taps;
        size_t i = ((size_t)y * k->t->w + (size_t)x) * channels + c;
        int64_t size = tp_int_finish_all(k, i, z, k->b + c, n, e);
        peak = size > peak ? size : peak;
    }
    return peak;
}

static bool tp_int_is_plain_depthwise(const tp_int_t *k) {
    return k->g.groups > 1 && k->g.filters == 1 && k->g.fan_in <= 64u;
}

// One pass over a row with weights at the exponent its map has. Returns whether it has to be done
// again.
static bool tp_int_weights_forward(const tp_int_t *k, uint64_t *macs) {
    const tp_geometry_t *g = &k->g;
    const tp_layer_t *t = k->t;
    uint32_t n = g->fan_in, rows = g->filters, lost = tp_int_lost_bits(k);
    int32_t e = k->range->e_w + k->in->e_a + (int32_t)lost;
    int64_t peak = 0;
    size_t i = 0;
    *macs = 0;
    for (int32_t y = 0; y < t->h; y++) {
        for (int32_t x = 0; x < t->w; x++) {
            if (tp_int_is_plain_depthwise(k)) {
                int64_t size = tp_int_depthwise_at(k, y, x, e, macs);
                peak = size > peak ? size : peak;
                continue;
            }
            for (uint32_t group = 0; group < g->groups; group++) {
                tp_k_window_t q = tp_int_window(g, y, x, group);
                const void *patch = tp_int_patch(k, &q);
                tp_ki_index_t room;
                const tp_ki_index_t *index = tp_int_index(k, &room, patch);
                const uint8_t *w = k->w + (size_t)group * rows * n * k->bytes;
                int32_t *z = k->spare;
                if (k->wide) {
                    tp_ki_matvec_i16(z, (const void *)w, patch, rows, n, lost, index);
                } else {
                    tp_ki_matvec_i8(z, (const void *)w, patch, rows, n, index);
                }
                *macs += (uint64_t)(index != NULL ? index->total : n) * rows;
                int64_t size = tp_int_finish_all(k, i, z, k->b + group * rows, rows, e);
                peak = size > peak ? size : peak;
                i += rows;
            }
        }
    }
    return !k->last && !tp_squashes(t) && tp_int_grows(k->m, k->l + 1u, peak, e);
}

void tp_int_forward(tp_model_t *m, uint32_t l, uint64_t *macs) {
    tp_int_t k = tp_int_begin_row(m, l);
    uint64_t done = 0;
    if (k.w != NULL) {
        while (tp_int_weights_forward(&k, &done)) {
        }
    } else if (k.t->kind >= TP_LAYER_ADD) {
        tp_int_plain_forward(&k);
    } else {
        while (tp_int_pool_forward(&k)) {
        }
    }
    *macs += done;
}

// --- Backward ---

// Keep what the policy wants of d; counts what is left.
static uint32_t tp_int_select(const tp_int_t *k, float y, float y_after) {
    tp_layer_t *t = k->t;
    uint32_t n = tp_row_size(t), c = t->c;
    bool channels = t->select == TP_SELECT_CHANNELS;
    tp_choice_t choice = tp_policy_choose(k->m, k->l, channels ? c : n, y, y_after);
    t->ratio = choice.ratio;
    if (!channels) {
        t->k = tp_topk_int(k->d, n, choice.k);
    } else {
        int32_t *sums = (int32_t *)(void *)k->gathered;
        for (uint32_t j = 0; j < c; j++) {
            int64_t sum = 0;
            for (uint32_t i = j; i < n; i += c) {
                sum += k->d[i] < 0 ? -k->d[i] : k->d[i];
            }
            sums[j] = tp_saturate(sum);
        }
        tp_topk_int(sums, c, choice.k);
        t->k = 0;
        for (uint32_t i = 0; i < n; i++) {
            k->d[i] = sums[i % c] != 0 ? k->d[i] : 0;
            t->k += k->d[i] != 0;
        }
        choice.k = choice.k * (n / c);
    }
    t->k_sum += t->k;
    float kept = choice.k < n && k->m->policy.rescale ? tp_int_sum_abs(k->m, k->l) : 0.0f;
    if (kept != 0.0f && kept != y) {
        tp_mant_t factor = tp_mant(y / kept);
        tp_int_scale(k->d, n, factor.m);
        k->range->e_d = (int16_t)(k->range->e_d + 15 + factor.x);
    }
    return choice.k;
}

// So many rows of weights are handed to a kernel at once.
#define TP_INT_ROWS 32u

static void tp_int_rows_dx(const tp_int_t *k, const tp_ki_row_t *rows, uint32_t n, int32_t *dx,
    const tp_ki_index_t *index) {
    if (k->wide) {
        tp_ki_rows_dx_i16(dx, rows, n, k->g.fan_in, index);
    } else {
        tp_ki_rows_dx_i8(dx, rows, n, k->g.fan_in, index);
    }
}

// The same where each channel has one filter: d of output `at`, channel c, goes back to its window.
static void tp_int_channel_dx(const tp_int_t *k, int32_t *map, int32_t d, const tp_k_window_t *q,
    int32_t shift, bool some) {
    tp_k_inside_t in = tp_k_inside(q);
    const uint8_t *w = k->w + (size_t)q->c0 * k->g.fan_in * k->bytes;
    for (int32_t y = in.y; y < in.y_end; y++) {
        for (int32_t x = in.x; x < in.x_end; x++) {
            size_t at = tp_place(q, y, x);
            if (some && tp_load(k->m, k->x, at) == 0) {
                continue;
            }
            int32_t dx = d * tp_load(k->m, w, tp_tap(q, y, x)) >> (k->wide ? 8 : 0);
            map[at] += shift == 0 ? dx : tp_shift(dx, shift);
            k->t->macs += some;
        }
    }
    k->t->macs += some ? 0 : k->g.fan_in;
}

// Old weights give d of the source map.
static void tp_int_weights_dx(const tp_int_t *k) {
    tp_model_t *m = k->m;
    tp_layer_t *t = k->t;
    const tp_geometry_t *g = &k->g;
    uint32_t n = g->fan_in;
    bool first = (t->flags & TP_ROW_FIRST_SOURCE) != 0, direct = g->contiguous && first;
    bool relu = t->source > 0 && tp_table(m)[t->source - 1u].activation == TP_RELU;
    uint32_t overlap = (uint32_t)(((g->kh + g->sh - 1) / g->sh) * ((g->kw + g->sw - 1) / g->sw));
    overlap = t->kind == TP_LAYER_DENSE ? 1u : overlap;
    int32_t less = tp_bit_length((uint64_t)g->filters * overlap) - 9;
    less = less > 0 ? less : 0;
    int32_t e = k->range->e_d + less + k->range->e_w + (k->wide ? 8 : 0);
    int32_t shift = tp_int_join(m, t->source, first, e, NULL);
    int32_t *map = tp_int_delta(m, t->source - 1u);
    const int32_t *d = k->d;
    bool plain = tp_int_is_plain_depthwise(k);
    for (int32_t y = 0; y < t->h; y++) {
        for (int32_t x = 0; x < t->w; x++) {
            for (uint32_t group = 0; group < g->groups; group++, d += g->filters) {
                if (plain && *d == 0) {
                    continue;
                }
                tp_k_window_t q = tp_int_window(g, y, x, group);
                if (plain) {
                    tp_int_channel_dx(k, map, tp_shift(*d, less), &q, shift, k->skip && relu);
                    continue;
                }
                tp_ki_index_t room;
                const tp_ki_index_t *index = NULL;
                int32_t *dx = direct ? map + tp_place(&q, q.y0, q.x0) : k->spare;
                tp_ki_row_t rows[TP_INT_ROWS];
                uint32_t full = 0, kept = 0;
                for (uint32_t o = 0; o < g->filters; o++) {
                    if (d[o] == 0) {
                        continue;
                    }
                    if (kept == 0) {
                        // Behind a ReLU the columns with x == 0 are those whose d becomes 0.
                        index =
                            k->skip && relu ? tp_int_index(k, &room, tp_int_patch(k, &q)) : NULL;
                        if (!direct) {
                            memset(dx, 0, n * sizeof(*dx));
                        }
                    }
                    kept++;
                    size_t at = (size_t)(group * g->filters + o) * n * k->bytes;
                    int32_t by = less == 0 ? d[o] : tp_shift(d[o], less);
                    rows[full++] = (tp_ki_row_t){k->w + at, by, 0, 0};
                    if (full == TP_INT_ROWS) {
                        tp_int_rows_dx(k, rows, full, dx, index);
                        full = 0;
                    }
                }
                tp_int_rows_dx(k, rows, full, dx, index);
                if (kept > 0 && !direct) {
                    tp_int_scatter(map, dx, &q, shift);
                }
                t->macs += (uint64_t)kept * (index != NULL ? index->total : n);
            }
        }
    }
}

static void tp_int_rows_update(const tp_int_t *k, const tp_ki_row_t *rows, uint32_t n,
    const void *x, const tp_ki_index_t *index) {
    if (k->wide) {
        tp_ki_rows_update_i16(rows, n, x, k->g.fan_in, index);
    } else {
        tp_ki_rows_update_i8(rows, n, x, k->g.fan_in, index);
    }
}

// The steps of the rows from d to its end, where it is not 0: a gain of lr * d * 2^-e, less its shift.
// d and `kept` (how many these are) move on.
typedef struct {
    const int32_t *d, *end;
    uint32_t bytes, kept;
    int32_t lr, e;
} tp_int_steps_t;

// Returns how many rows there are in `rows`. A function of its own: it has enough to keep at hand.
static TP_APART uint32_t tp_int_steps(const tp_int_t *k, tp_ki_row_t *rows, tp_int_steps_t *q) {
    tp_model_t *m = k->m;
    tp_ki_row_t *to = rows;
    const int32_t *d = q->d;
    bool wide = k->wide;
    int32_t limit = wide ? (1 << 20) - 1 : 127;
    for (;; d++) {
        for (; d != q->end && *d == 0; d++) {
        }
        if (d == q->end || to == rows + TP_INT_ROWS) {
            break;
        }
        int32_t p = q->lr * *d, s = 16, t, g;
        q->kept++;
        if (!wide) {
            // 7 bits of gain.
            s = (p != 0 ? __builtin_clz((uint32_t)(p < 0 ? -p : p)) : 32) - 25 + q->e;
            s = s < 8 ? 8 : s > 14 ? 14 : s;
        }
        // tp_round_at_random and tp_int_noise, in the usual case without their calls.
        t = q->e - s;
        if (t > 0 && t <= 30) {
            g = ((int32_t)(tp_rng_next(m->rng) >> (32 - t)) - p) >> t;
        } else {
            g = tp_round_at_random(m, p, t);
        }
        if (g != 0) {
            uint32_t o = (uint32_t)(d - k->d);
            to->w = k->w + (size_t)o * q->bytes;
            to->g = tp_clip(g, limit);
            to->noise = wide ? tp_rng_next(m->rng) & 65535u : tp_int_turn(m, k->l, o) >> (32 - s);
            to->shift = (uint32_t)s;
            to++;
        }
    }
    q->d = d;
    return (uint32_t)(to - rows);
}

// One place: every kept row takes its step.
static TP_APART void tp_int_dense_update(const tp_int_t *k, tp_mant_t lr) {
    tp_layer_t *t = k->t;
    uint32_t n = k->g.fan_in;
    tp_k_window_t q = tp_int_window(&k->g, 0, 0, 0);
    const void *x = tp_int_patch(k, &q);
    tp_ki_index_t room;
    const tp_ki_index_t *index = tp_int_index(k, &room, x);
    tp_ki_row_t rows[TP_INT_ROWS];
    int32_t e = k->range->e_w - lr.x - k->range->e_d - k->in->e_a;
    tp_int_steps_t steps = {k->d, k->d + t->rows, n * k->bytes, 0, lr.m, e};
    do {
        uint32_t full = tp_int_steps(k, rows, &steps);
        tp_int_rows_update(k, rows, full, x, index);
    } while (steps.d != steps.end);
    t->macs += (uint64_t)steps.kept * (index != NULL ? index->total : n);
}

// The same with momentum.
static void tp_int_dense_momentum(const tp_int_t *k, tp_mant_t lr) {
    uint32_t n = k->g.fan_in;
    tp_k_window_t q = tp_int_window(&k->g, 0, 0, 0);
    const void *patch = tp_int_patch(k, &q);
    const int16_t *x = patch;
    if (!k->wide) {
        int16_t *copy = (int16_t *)(void *)k->spare;
        for (uint32_t i = 0; i < n; i++) {
            copy[i] = ((const int8_t *)patch)[i];
        }
        x = copy;
    }
    int32_t e = lr.x + k->range->e_d + k->in->e_a - k->range->e_w;
    for (uint32_t o = 0; o < k->t->rows; o++) {
        k->t->macs += k->d[o] != 0 ? n : 0;
        if (k->d[o] != 0 || tp_optim_moves_all(k->m)) {
            tp_int_momentum_step(k->m, k->l, o, lr.m * k->d[o], e, x);
        }
    }
}

// Many places: the whole gradient of a filter first, then one step.
static void tp_int_filters_update(const tp_int_t *k, tp_mant_t lr) {
    tp_model_t *m = k->m;
    tp_layer_t *t = k->t;
    const tp_geometry_t *g = &k->g;
    uint32_t n = g->fan_in, places = (uint32_t)t->h * t->w;
    int32_t *sum = k->spare;
    int16_t *x = (int16_t *)(void *)(sum + n);
    int32_t less = tp_map_bits(m) + 15 + tp_bit_length(places - 1u) - 31;
    less = less > 0 ? less : 0;
    for (uint32_t o = 0; o < t->rows; o++) {
        bool touched = false;
        for (uint32_t place = 0; place < places; place++) {
            int32_t d = k->d[(size_t)place * t->c + o];
            if (d == 0) {
                continue;
            }
            if (!touched) {
                memset(sum, 0, n * sizeof(*sum));
            }
            touched = true;
            tp_k_window_t q =
                tp_int_window(g, (int32_t)(place / t->w), (int32_t)(place % t->w), o / g->filters);
            tp_int_add_patch(k, sum, less == 0 ? d : tp_shift(d, less), &q);
            t->macs += n;
        }
        if (!touched) {
            if (!tp_optim_moves_all(m)) {
                continue;
            }
            memset(sum, 0, n * sizeof(*sum));
        }
        int32_t up = tp_int_normalise(sum, n, 0);
        bool any = false;
        for (uint32_t i = 0; i < n; i++) {
            x[i] = (int16_t)sum[i];
            any = any || x[i] != 0;
        }
        int32_t x_ = lr.x + k->range->e_d + less + k->in->e_a + up - k->range->e_w;
        if (t->off_m != 0) {
            tp_int_momentum_step(m, k->l, o, any ? lr.m : 0, x_, x);
            continue;
        }
        int32_t s = -x_ < 5 ? 5 : -x_ > 29 ? 29 : -x_;
        int32_t gain = any ? tp_clip(tp_round_at_random(m, lr.m, -(x_ + s)), 32767) : 0;
        if (gain == 0) {
            continue;
        }
        uint32_t noise = tp_int_noise(m, k->l, o, s);
        tp_ki_row_t row = {k->w + (size_t)o * n * k->bytes, gain, noise, (uint32_t)s};
        if (k->wide) {
            tp_ki_row_update_wide_i16(&row, x, n);
        } else {
            tp_ki_row_update_wide_i8(&row, x, n);
        }
    }
}

// d of map r is complete.
static void tp_int_complete(tp_model_t *m, uint32_t r) {
    const tp_layer_t *s = &tp_table(m)[r - 1u];
    tp_range_t *range = &tp_model_ranges(m)[r];
    range->e_d = (int16_t)tp_int_derive(m, s, tp_int_delta(m, r - 1u), tp_at(m, s->off_act),
        tp_row_size(s), range->e_d, false);
}

void tp_int_backward(tp_model_t *m, uint32_t l, float y, float y_after, const tp_trace_t *trace) {
    tp_int_t k = tp_int_begin_row(m, l);
    tp_layer_t *t = k.t;
    bool passes_on = t->source > 0 && tp_table(m)[t->source - 1u].off_d != 0;
    if (k.w != NULL) {
        tp_mant_t lr = tp_mant(m->opt.lr);
        if (t->trainable != TP_TRAIN_NONE) {
            tp_int_bias_step(m, l, k.b, lr);
        }
        uint32_t wanted = tp_int_select(&k, y, y_after);
        uint32_t passes = (t->rows > 0 ? 1u : 0u) + (passes_on ? 1u : 0u);
        m->policy_macs += (uint64_t)(wanted * passes) * k.g.fan_in;
        tp_mark(trace, l, TP_PASS_SELECT);
        if (passes_on) {
            tp_int_weights_dx(&k);
            tp_mark(trace, l, TP_PASS_DX);
        }
        bool one_place = t->h == 1 && t->w == 1 && k.g.groups == 1;
        if (t->rows > 0 && one_place && t->off_m != 0) {
            tp_int_dense_momentum(&k, lr);
        } else if (t->rows > 0 && one_place) {
            tp_int_dense_update(&k, lr);
        } else if (t->rows > 0) {
            tp_int_filters_update(&k, lr);
        }
        tp_mark(trace, l, TP_PASS_UPDATE);
    } else {
        tp_int_pass_on(&k);
    }
    if (passes_on && (t->flags & TP_ROW_LAST_SOURCE) != 0) {
        tp_int_complete(m, t->source);
    }
    if (t->kind == TP_LAYER_ADD && t->other > 0 && tp_table(m)[t->other - 1u].off_d != 0 &&
        (t->flags & TP_ROW_LAST_OTHER) != 0) {
        tp_int_complete(m, t->other);
    }
    tp_mark(trace, l, TP_PASS_DX);
}
#endif
