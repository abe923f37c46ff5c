// Forward and backward pass of the rows of a network.
#include <string.h>

#include "tp_internal.h"

// Room for floats behind the index.
static float *tp_scratch(tp_model_t *m) {
    return tp_at(m, m->off_scratch + ((m->index * 2u + 3u) & ~3u));
}

// The window at place (y, x) of the output; of a group of channels where these are on their own.
static tp_k_window_t tp_window(const tp_geometry_t *g, int32_t y, int32_t x, uint32_t group) {
    int32_t n = (int32_t)(tp_groups(g) > 1 ? 1u : g->in.c);
    return (tp_k_window_t){g->in.h, g->in.w, g->in.c, g->kh, g->kw, y * g->sh - g->top,
        x * g->sw - g->left, (int32_t)group * n, n};
}

static size_t tp_corner(const tp_k_window_t *q) {
    return !TP_MAPS
        ? 0
        : ((size_t)q->y0 * (size_t)q->w + (size_t)q->x0) * (size_t)q->c + (size_t)q->c0;
}

// --- Weights: dense, convolution, depthwise ---

// A row at work: its map, and at each place the patch, from memory or gathered.
typedef struct {
    tp_model_t *m;
    tp_layer_t *t;
    uint32_t l;
    tp_geometry_t g;
    float *x, *dx;      // source map; d of the source map, or NULL
    float *w;           // weights of the first `here` filters
    const float *rest;  // of the others, outside; counted from filter 0 as well
    uint32_t here;
    bool skip;         // zero inputs are left out
    float *gathered, *spare;
    uint16_t *columns;
} tp_work_t;

// Is leaving out zero inputs worth the index?
static bool tp_skips_zeros(const tp_model_t *m, const float *x, uint32_t n) {
    uint32_t most = (uint32_t)((uint64_t)n * m->zero_skip / 100u);
    if (m->zero_skip == 0 || most >= n) {
        return m->zero_skip > 0;
    }
    // More than that may be found before the end.
    uint32_t count = tp_k_count_f32(x, most + 1u);
    return count <= most && count + tp_k_count_f32(x + most + 1u, n - most - 1u) <= most;
}

// `looks`: at the values of the source map.
static tp_work_t tp_begin(tp_model_t *m, uint32_t l, bool looks) {
    tp_work_t k;
    k.m = m;
    k.l = l;
    k.t = &tp_table(m)[l];
    k.g = tp_geometry(k.t, tp_map_shape(m, k.t->source));
    k.w = tp_layer_weights(m, l);
    k.rest = tp_layer_external(m, l);
    k.here = tp_is_external(k.t) ? k.t->rows : k.t->c;
    k.x = tp_map(m, k.t->source);
    k.dx = NULL;
    k.skip = looks && tp_skips_zeros(m, k.x, tp_elements(k.g.in));
    k.columns = (uint16_t *)tp_at(m, m->off_scratch);
    k.gathered = tp_scratch(m);
    k.spare = k.gathered + (tp_is_contiguous(&k.g) ? 0 : k.g.fan_in);
    return k;
}

// The patch under a window.
static const float *tp_patch(const tp_work_t *k, const tp_k_window_t *q) {
    if (tp_is_contiguous(&k->g)) {
        return k->x + tp_corner(q);
    }
    tp_k_gather_f32(k->gathered, k->x, q);
    return k->gathered;
}

// Weights of the filters from `row` on that lie in one piece; `end` becomes the first that does not.
static const float *tp_filters(const tp_work_t *k, uint32_t row, uint32_t *end) {
    bool inside = !TP_MAPS || row < k->here;
    if (TP_MAPS && inside && *end > k->here) {
        *end = k->here;
    }
    return (inside ? k->w : k->rest) + (size_t)row * k->g.fan_in;
}

// All filters of a group at one place.
static void tp_patch_forward(const tp_work_t *k, float *out, const float *patch, uint32_t first,
    const float *bias, const tp_k_index_t *index) {
    uint32_t n = k->g.fan_in, last = first + k->g.filters, end;
    for (uint32_t row = first; row < last; row = end) {
        end = last;
        const float *w = tp_filters(k, row, &end), *b = bias + row;
        if (index == NULL) {
            tp_k_matvec_f32(out + (row - first), w, patch, b, end - row, n);
        } else {
            tp_k_matvec_index_f32(out + (row - first), w, patch, b, end - row, n, index);
        }
    }
}

// One filter to each channel, all in one piece: kernels run over the channels. NULL elsewhere.
static float *tp_by_channel(const tp_work_t *k) {
    uint32_t end = k->t->c;
    const float *w = tp_filters(k, 0, &end);
    bool whole = end == k->t->c && tp_groups(&k->g) > 1 && k->g.filters == 1;
    // Only filters that train, which are in the block, are written to.
    return whole ? (float *)(uintptr_t)w : NULL;
}

static void tp_weights_forward(tp_work_t *k, uint64_t *macs) {
    const tp_geometry_t *g = &k->g;
    const tp_layer_t *t = k->t;
    const float *b = tp_layer_bias(k->m, k->l);
    float *out = tp_at(k->m, t->off_act);
    uint32_t n = g->fan_in, rows = g->filters;
    const float *by_channel = tp_by_channel(k);
    for (int32_t y = 0; y < tp_high(t); y++) {
        for (int32_t x = 0; x < tp_wide(t); x++) {
            if (by_channel != NULL) {
                tp_k_window_t q = tp_window(g, y, x, 0);
                *macs += tp_k_depthwise_f32(out, by_channel, k->x, b, &q, k->skip);
                out += t->c;
                continue;
            }
            for (uint32_t group = 0; group < tp_groups(g); group++, out += rows) {
                tp_k_window_t q = tp_window(g, y, x, group);
                const float *patch = tp_patch(k, &q);
                if (!k->skip) {
                    tp_patch_forward(k, out, patch, group * rows, b, NULL);
                    *macs += (uint64_t)n * rows;
                    continue;
                }
                tp_k_index_t index;
                tp_k_index_f32(&index, k->columns, patch, n);
                tp_patch_forward(k, out, patch, group * rows, b, &index);
                *macs += (uint64_t)index.total * rows;
            }
        }
    }
}

// What the filters of one group do at one place.
typedef struct {
    const float *d, *x; // d of the filters, the patch
    float *dx;          // d of the patch, or NULL
    uint32_t first;     // the first of these filters
    uint32_t filters;
    const tp_k_index_t *index, *dx_index; // columns that are not zero, or NULL for all
} tp_place_t;

// Old weights give dx.
static uint64_t tp_place_dx(const tp_work_t *k, const tp_place_t *p) {
    uint32_t n = k->g.fan_in, last = p->first + p->filters, end;
    size_t kept = 0;
    for (uint32_t row = p->first; row < last; row = end) {
        end = last;
        const float *w = tp_filters(k, row, &end);
        kept += tp_k_rows_dx_f32(p->dx, w, p->d + (row - p->first), end - row, n, p->dx_index);
    }
    return (uint64_t)kept * (p->dx_index != NULL ? p->dx_index->total : n);
}

// The weights of the filters that train take their step.
static uint64_t tp_place_update(tp_work_t *k, const tp_place_t *p, bool in_place) {
    uint32_t n = k->g.fan_in, rows = k->t->rows;
    size_t kept = 0;
    rows = p->first >= rows ? 0 : rows - p->first < p->filters ? rows - p->first : p->filters;
    if (in_place) {
        float *w = k->w + (size_t)p->first * n;
        kept = tp_k_rows_update_f32(w, k->m->opt.lr, p->d, p->x, rows, n, p->index);
    } else {
        for (uint32_t o = 0; o < rows; o++) {
            if (!tp_k_is_zero(p->d[o])) {
                tp_optim_row(k->m, k->t, p->first + o, p->d[o], p->x, p->index);
                kept++;
            }
        }
    }
    bool skips = p->index != NULL && (in_place || k->m->batch > 1);
    return (uint64_t)kept * (skips ? p->index->total : n);
}

static bool tp_behind_relu(const tp_model_t *m, const tp_layer_t *t) {
    const tp_layer_t *table = (const tp_layer_t *)(m + 1);
    return t->source > 0 && table[t->source - 1u].activation == TP_RELU;
}

// The filters of a pass that may work on the map itself, without patches; NULL where they may not.
static float *tp_without_patches(const tp_work_t *k, bool dx, bool update, bool in_place) {
    const tp_layer_t *t = k->t;
    uint32_t end = t->c;
    const float *w = tp_filters(k, 0, &end);
    bool few = t->k <= 4u * t->h * t->w && !k->skip && !k->g.contiguous && k->g.groups == 1;
    // Where nobody added to dx before, there is no -0 in it.
    bool whole = dx ? !update && end == t->c && (t->flags & TP_ROW_FIRST_SOURCE) != 0 : in_place;
    return few && whole ? (float *)(uintptr_t)w : NULL; // only what trains is written to
}

// The same where each window is one place, all of them at once; false where nothing was done.
static bool tp_places_at_once(tp_work_t *k, bool dx, bool update, bool in_place) {
#if TP_KERNELS_VFP && TP_MAPS
    tp_layer_t *t = k->t;
    uint32_t n = k->g.fan_in, places = tp_n_places(t), end = dx ? t->c : t->rows;
    tp_k_places_t q = {places, t->c, end, n};
    const float *w = tp_filters(k, 0, &end);
    bool whole = k->g.contiguous && k->g.groups == 1 && places * n == tp_elements(k->g.in);
    bool may = dx ? !update && (t->flags & TP_ROW_FIRST_SOURCE) != 0 : in_place;
    if (whole && may && end == q.rows && places > 1 && (n & 7u) == 0 && !k->skip) {
        const float *d = tp_at(k->m, t->off_d);
        float *at = (float *)(uintptr_t)w; // only what trains is written to
        t->macs += (uint64_t)tp_k_places_f32(dx ? k->dx : NULL, k->x, at, k->m->opt.lr, d, &q) * n;
        return true;
    }
#endif
    (void)k, (void)dx, (void)update, (void)in_place;
    return false;
}

// One pass over all places: dx, or the update, or (where there is one place only) both.
static void tp_places_backward(tp_work_t *k, bool dx, bool update, bool in_place) {
    if (tp_places_at_once(k, dx, update, in_place)) {
        return;
    }
    const tp_geometry_t *g = &k->g;
    const tp_layer_t *t = k->t;
    uint32_t n = g->fan_in, rows = g->filters;
    // Behind a ReLU the columns with x == 0 are those whose d becomes 0: dx may skip them too.
    bool relu = tp_behind_relu(k->m, t);
    bool direct = tp_is_contiguous(g) && tp_has_flag(t, TP_ROW_FIRST_SOURCE);
    float *by_channel = in_place || !update ? tp_by_channel(k) : NULL;
    float *few = tp_without_patches(k, dx, update, in_place), lr = k->m->opt.lr;
    const float *d = tp_at(k->m, t->off_d);
    for (int32_t y = 0; y < tp_high(t); y++) {
        for (int32_t x = 0; x < tp_wide(t); x++) {
            if (by_channel != NULL) {
                tp_k_window_t q = tp_window(g, y, x, 0);
                k->t->macs += dx
                    ? tp_k_depthwise_dx_f32(k->dx, by_channel, k->x, d, &q, k->skip && relu)
                    : tp_k_depthwise_update_f32(by_channel, k->m->opt.lr, k->x, d, t->rows, &q,
                          k->skip);
                d += t->c;
                continue;
            }
            for (uint32_t group = 0; group < tp_groups(g); group++, d += rows) {
                uint32_t o = (uint32_t)tp_k_next_f32(d, 0, rows);
                if (o == rows) {
                    continue;
                }
                tp_k_window_t q = tp_window(g, y, x, group);
                if (few != NULL) {
                    float *w = few + (size_t)o * n;
                    size_t kept = 0, trained = o < t->rows ? t->rows - o : 0;
                    if (dx) {
                        kept = tp_k_window_dx_f32(k->dx, w, d + o, rows - o, &q);
                    } else if (trained > 0) {
                        kept =
                            tp_k_window_update_f32(w, lr, d + o, k->x, k->gathered, trained, &q);
                    }
                    if (kept > 0) {
                        k->t->macs += (uint64_t)kept * n;
                        continue;
                    }
                }
                tp_k_index_t index;
                tp_place_t p = {d + o, NULL, NULL, group * rows + o, rows - o, NULL, NULL};
                p.x = update || k->skip ? tp_patch(k, &q) : NULL;
                if (k->skip) {
                    tp_k_index_f32(&index, k->columns, p.x, n);
                    p.index = &index;
                    p.dx_index = relu ? &index : NULL;
                }
                if (dx) {
                    p.dx = direct ? k->dx + tp_corner(&q) : k->spare;
                }
                if (dx && !direct) {
                    tp_k_clear_f32(p.dx, n);
                }
                if (dx) {
                    k->t->macs += tp_place_dx(k, &p);
                }
                if (update) {
                    k->t->macs += tp_place_update(k, &p, in_place);
                }
                if (dx && !direct) {
                    tp_k_scatter_add_f32(k->dx, k->spare, &q);
                }
            }
        }
    }
}

// Optimisers with state need the whole gradient of a filter before it moves: filter by filter.
static void tp_filters_step(tp_work_t *k) {
    const tp_geometry_t *g = &k->g;
    tp_layer_t *t = k->t;
    uint32_t n = g->fan_in;
    const float *d = tp_at(k->m, t->off_d);
    float *sum = k->spare;
    for (uint32_t o = 0; o < t->rows; o++) {
        bool touched = false;
        for (int32_t y = 0; y < t->h; y++) {
            for (int32_t x = 0; x < t->w; x++) {
                float dp = d[((size_t)y * t->w + (size_t)x) * t->c + o];
                if (tp_k_is_zero(dp)) {
                    continue;
                }
                if (!touched) {
                    memset(sum, 0, n * sizeof(float));
                }
                touched = true;
                tp_k_window_t q = tp_window(g, y, x, o / g->filters);
                tp_k_axpy_f32(sum, dp, tp_patch(k, &q), n);
                t->macs += n;
            }
        }
        if (touched) {
            tp_optim_row(k->m, t, o, 1.0f, sum, NULL);
        } else if (tp_optim_moves_all(k->m)) {
            tp_optim_untouched(k->m, t, o);
        }
    }
}

static void tp_weights_backward(tp_model_t *m, uint32_t l, float *dx, const tp_trace_t *trace) {
    bool looks = tp_table(m)[l].rows > 0 || tp_behind_relu(m, &tp_table(m)[l]);
    tp_work_t k = tp_begin(m, l, looks);
    const tp_layer_t *t = k.t;
    bool one_place = tp_n_places(t) == 1 && tp_groups(&k.g) == 1;
    bool update = t->rows > 0, in_place = tp_optim_in_place(m);
    k.dx = dx;
    // Weights shared by several places: dx needs them all as they were.
    if (dx != NULL && !(one_place && trace == NULL)) {
        tp_places_backward(&k, true, false, in_place);
        tp_mark(trace, l, TP_PASS_DX);
        dx = NULL;
    }
    if (one_place || (update && (in_place || m->batch > 1))) {
        tp_places_backward(&k, dx != NULL, update, in_place);
    } else if (update) {
        tp_filters_step(&k);
    }
    const float *d = tp_at(m, t->off_d);
    for (uint32_t o = 0; one_place && o < t->rows && tp_optim_moves_all(m); o++) {
        if (tp_k_is_zero(d[o])) {
            tp_optim_untouched(m, k.t, o);
        }
    }
}

// out (c) = sum of |v| (places, c) over the places.
static void tp_channel_sums_abs(float *out, const float *v, uint32_t places, uint32_t c) {
    tp_k_clear_f32(out, c);
    for (uint32_t p = 0; p < places; p++, v += c) {
        tp_k_add_abs_f32(out, v, c);
    }
}

// Keep what the policy wants of d; counts what is left.
static tp_choice_t tp_select(tp_model_t *m, uint32_t l, float y, float y_after) {
    tp_layer_t *t = &tp_table(m)[l];
    float *d = tp_at(m, t->off_d), *sums = tp_scratch(m);
    uint32_t n = tp_row_size(t), c = t->c;
    bool channels = TP_MAPS && t->select == TP_SELECT_CHANNELS;
    tp_choice_t choice = tp_policy_choose(m, l, channels ? c : n, y, y_after);
    t->ratio = choice.ratio;
    if (!channels) {
        t->k = tp_topk(d, n, choice.k);
    } else {
        tp_channel_sums_abs(sums, d, n / c, c);
        tp_topk(sums, c, choice.k);
        t->k = 0;
        for (uint32_t j = 0; j < c; j++) {
            bool kept = !tp_k_is_zero(sums[j]);
            for (uint32_t i = j; i < n; i += c) {
                if (!kept) {
                    d[i] = 0.0f;
                } else {
                    t->k += !tp_k_is_zero(d[i]);
                }
            }
        }
        choice.k = choice.k * (n / c);
    }
    t->k_sum += t->k;
    if (choice.k < n) {
        tp_policy_rescale(m, d, n, y);
    }
    return choice;
}

// --- Rows without weights ---

static void tp_pool_forward(tp_model_t *m, const tp_layer_t *t) {
    tp_geometry_t g = tp_geometry(t, tp_map_shape(m, t->source));
    const float *x = tp_map(m, t->source);
    float *out = tp_at(m, t->off_act);
    for (int32_t i = 0; i < t->h * t->w; i++, out += t->c) {
        tp_k_window_t q = tp_window(&g, i / t->w, i % t->w, 0);
        if (t->kind == TP_LAYER_MAX_POOL) {
            tp_k_max_f32(out, x, &q);
        } else {
            tp_k_mean_f32(out, x, &q);
        }
    }
}

static void tp_pool_backward(tp_model_t *m, const tp_layer_t *t, float *dx) {
    tp_geometry_t g = tp_geometry(t, tp_map_shape(m, t->source));
    const float *x = tp_map(m, t->source), *out = tp_at(m, t->off_act), *d = tp_at(m, t->off_d);
    for (int32_t i = 0; i < t->h * t->w; i++, out += t->c, d += t->c) {
        tp_k_window_t q = tp_window(&g, i / t->w, i % t->w, 0);
        if (t->kind == TP_LAYER_MAX_POOL) {
            tp_k_max_backward_f32(dx, d, x, out, &q);
        } else {
            tp_k_mean_backward_f32(dx, d, &q);
        }
    }
}

// out[i] = x[i] / (1 - rate) or 0, drawn by the key of the sample; the same for d on its way back.
static void tp_dropout(tp_model_t *m, uint32_t l, float *out, const float *x) {
    const tp_layer_t *t = &tp_table(m)[l];
    uint32_t n = tp_row_size(t), limit = (uint32_t)(t->slope * 16777216.0f);
    float keep = 1.0f / (1.0f - t->slope);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t draw = tp_hash(m->dropout_key + l * 0x9e3779b9u + i * 0x85ebca6bu) >> 8;
        out[i] = m->dropout_key == 0 ? x[i] : draw < limit ? 0.0f : x[i] * keep;
    }
}

// --- All rows ---

void tp_layer_forward(tp_model_t *m, uint32_t l, uint64_t *macs) {
    if (tp_is_int(m)) {
        tp_int_forward(m, l, macs);
        return;
    }
    const tp_layer_t *t = &tp_table(m)[l];
    float *out = tp_at(m, t->off_act);
    uint32_t n = tp_row_size(t);
    if (tp_has_weights(t->kind)) {
        tp_work_t k = tp_begin(m, l, true);
        tp_weights_forward(&k, macs);
    } else if (t->kind == TP_LAYER_ADD) {
        const float *a = tp_map(m, t->source), *b = tp_map(m, t->other);
        for (uint32_t i = 0; i < n; i++) {
            out[i] = a[i] + b[i];
        }
    } else if (t->kind == TP_LAYER_DROPOUT) {
        tp_dropout(m, l, out, tp_map(m, t->source));
    } else {
        tp_pool_forward(m, t);
    }
    tp_activate(out, n, t->activation, t->slope);
}

// d of map r; NULL where none is needed. `first`: nothing was added to it yet.
static float *tp_source_delta(tp_model_t *m, uint32_t r, bool first, const float *unless) {
    const tp_layer_t *s = r > 0 ? &tp_table(m)[r - 1u] : NULL;
    if (s == NULL || s->off_d == 0) {
        return NULL;
    }
    float *d = tp_at(m, s->off_d);
    if (first && d != unless) {
        tp_k_clear_f32(d, tp_row_size(s));
    }
    return d;
}

static void tp_add_to(float *to, const float *d, uint32_t n) {
    if (to != NULL && to != d) {
        tp_k_add_f32(to, d, n);
    }
}

// d of map r is complete: dLoss/da becomes dLoss/dz.
static void tp_complete(tp_model_t *m, uint32_t r) {
    const tp_layer_t *s = &tp_table(m)[r - 1u];
    tp_activate_backward(tp_at(m, s->off_d), tp_at(m, s->off_act), tp_row_size(s), s->activation,
        s->slope);
}

void tp_layer_backward(tp_model_t *m, uint32_t l, float y, float y_after,
    const tp_trace_t *trace) {
    if (tp_is_int(m)) {
        tp_int_backward(m, l, y, y_after, trace);
        return;
    }
    tp_layer_t *t = &tp_table(m)[l];
    float *d = tp_at(m, t->off_d);
    bool two = TP_MAPS && t->kind == TP_LAYER_ADD;
    float *to = tp_source_delta(m, t->source, tp_has_flag(t, TP_ROW_FIRST_SOURCE), d);
    float *other = two ? tp_source_delta(m, t->other, t->flags & TP_ROW_FIRST_OTHER, d) : NULL;
    if (tp_has_weights(t->kind)) {
        uint32_t n = tp_row_size(t), c = t->c;
        if (t->trainable != TP_TRAIN_NONE) {
            float *sums = tp_scratch(m);
            if (TP_MAPS && n > c) {
                tp_k_channel_sums_f32(sums, d, n / c, c);
            }
            tp_optim_bias(m, t, TP_MAPS && n > c ? sums : d);
        }
        tp_choice_t choice = tp_select(m, l, y, y_after);
        uint32_t passes = (t->rows > 0 ? 1u : 0u) + (to != NULL ? 1u : 0u);
        m->policy_macs += (uint64_t)choice.k * tp_layer_fan_in(m, l) * passes;
        tp_mark(trace, l, TP_PASS_SELECT);
        if (passes > 0) {
            tp_weights_backward(m, l, to, trace);
            tp_mark(trace, l, TP_PASS_UPDATE);
        }
    } else if (two) {
        uint32_t n = tp_row_size(t);
        tp_add_to(other, d, n);
        tp_add_to(to, d, n);
    } else if (t->kind == TP_LAYER_DROPOUT) {
        // Where nobody else adds to it, d of the source is in the same place.
        uint32_t n = tp_row_size(t);
        tp_dropout(m, l, d, d);
        tp_add_to(to, d, n);
    } else {
        tp_pool_backward(m, t, to);
    }
    if (to != NULL && tp_has_flag(t, TP_ROW_LAST_SOURCE)) {
        tp_complete(m, t->source);
    }
    if (other != NULL && (t->flags & TP_ROW_LAST_OTHER) != 0) {
        tp_complete(m, t->other);
    }
    tp_mark(trace, l, TP_PASS_DX);
}

// The outputs that were not kept and that the backward pass of row l needs first.
static void tp_recompute(tp_model_t *m, uint32_t l, const tp_trace_t *trace) {
    tp_layer_t *table = tp_table(m);
    for (uint32_t r = 0; TP_MAPS && r < l; r++) {
        if (table[r].again == l + 1u) {
            tp_layer_forward(m, r, &table[r].macs);
            tp_mark(trace, r, TP_PASS_FORWARD);
            m->policy_macs += (uint64_t)tp_layer_fan_in(m, r) * tp_row_size(&table[r]);
        }
    }
}

void tp_backward(tp_model_t *m, float y, const tp_trace_t *trace) {
    tp_layer_t *table = tp_table(m);
    float y_after = 0.0f;
    for (uint32_t l = m->n_layers; l-- > 0;) {
        tp_layer_t *t = &table[l];
        if ((t->flags & TP_ROW_WANTS_D) == 0) {
            continue;
        }
        tp_recompute(m, l, trace);
        if (l + 1u < m->n_layers && tp_has_weights(t->kind)) {
            y = tp_is_int(m) ? tp_int_sum_abs(m, l)
                             : tp_k_sum_abs_f32(tp_at(m, t->off_d), tp_row_size(t));
            // An overflow on the way down must not reach the weights: they stay as they are from
            // here on. The loss of the next sample tells whether the model is lost.
            if (!tp_isfinite(y)) {
                return;
            }
        }
        tp_layer_backward(m, l, y, y_after, trace);
        y_after = tp_has_weights(t->kind) ? y : y_after;
    }
}
