// The network as a graph: shapes of all maps, and which bytes they share because they do not live
// at the same time. Steps of one training sample: forward of row l is step l, the loss step L,
// backward of row l step 2 L - l.
#include <string.h>

#include "tp_internal.h"

uint32_t tp_resolve(uint8_t wish, uint32_t l) {
    return wish == 0 ? l : wish == TP_FROM_INPUT ? 0 : wish;
}

// --- Shapes ---

static bool tp_pools(uint8_t kind) {
    return kind == TP_LAYER_MAX_POOL || kind == TP_LAYER_AVERAGE_POOL;
}

static int32_t tp_or(int32_t wish, int32_t otherwise) {
    return wish != 0 ? wish : otherwise;
}

tp_geometry_t tp_geometry(const tp_layer_t *t, tp_shape_t in) {
    tp_geometry_t g;
    bool dense = t->kind == TP_LAYER_DENSE;
    g.in = in;
    if (!TP_MAPS) {
        g.filters = t->c;
        g.fan_in = tp_elements(in);
#if TP_INTEGER // its files know windows in every build: here that of a dense layer
        g.kh = in.h;
        g.kw = in.w;
        g.sh = g.sw = 1;
        g.top = g.left = 0;
        g.groups = 1;
        g.contiguous = true;
#endif
        return g;
    }
    g.kh = dense ? in.h : tp_or(t->kernel_h, in.h);
    g.kw = dense ? in.w : tp_or(t->kernel_w, in.w);
    g.sh = tp_or(t->stride_h, 1);
    g.sw = tp_or(t->stride_w, 1);
    g.top = g.left = 0;
    if (t->same) {
        int32_t over_h = (t->h - 1) * g.sh + g.kh - in.h, over_w = (t->w - 1) * g.sw + g.kw - in.w;
        g.top = over_h > 0 ? over_h / 2 : 0;
        g.left = over_w > 0 ? over_w / 2 : 0;
    }
    bool depthwise = t->kind == TP_LAYER_DEPTHWISE;
    g.groups = depthwise ? in.c : 1;
    g.filters = depthwise ? t->c / in.c : t->c;
    g.fan_in = (uint32_t)(g.kh * g.kw) * (depthwise ? 1u : in.c);
    g.contiguous = dense || (g.kh == 1 && g.kw == 1 && !t->same);
    return g;
}

// Places of a window along one side; 0 where it is larger than the map.
static uint32_t tp_places_along(uint32_t size, uint32_t kernel, uint32_t stride, bool same) {
    if (same) {
        return (size + stride - 1u) / stride;
    }
    return kernel > size ? 0 : (size - kernel) / stride + 1u;
}

static int tp_row_shape(const tp_spec_t *s, uint32_t l, tp_shape_t *shapes, tp_fault_t *fault) {
    const tp_layer_spec_t *q = &s->layers[l];
    tp_shape_t in = shapes[tp_source_of(q, l)];
    uint32_t h = in.h, w = in.w, c = in.c;
    uint32_t fan_in = h * w * c; // of a map: at most TP_MAX_MAP
    if (!TP_MAPS || q->kind == TP_LAYER_DENSE) {
        h = w = 1;
        c = q->units;
    } else if (q->kind <= TP_LAYER_AVERAGE_POOL) {
        bool pools = tp_pools(q->kind);
        uint32_t kh = pools && q->kernel_h == 0 ? h : q->kernel_h;
        uint32_t kw = pools && q->kernel_w == 0 ? w : q->kernel_w;
        h = tp_places_along(h, kh, (uint32_t)tp_or(q->stride_h, 1), q->same);
        w = tp_places_along(w, kw, (uint32_t)tp_or(q->stride_w, 1), q->same);
        if (h == 0 || w == 0) {
            return tp_fail_count(fault, TP_ERR_RANGE, h == 0 ? "kernel height" : "kernel width",
                (int32_t)l, h == 0 ? kh : kw, 1, h == 0 ? in.h : in.w);
        }
        fan_in = kh * kw * (q->kind == TP_LAYER_CONV ? c : 1u);
        c = q->kind == TP_LAYER_CONV ? q->units : q->kind == TP_LAYER_DEPTHWISE ? c * q->units : c;
    } else if (q->kind == TP_LAYER_ADD) {
        tp_shape_t other = shapes[tp_resolve(q->other, l)];
        if (other.h != h || other.w != w || other.c != c) {
            return tp_fail_count(fault, TP_ERR_SHAPE, "values of the second map", (int32_t)l,
                tp_elements(other), tp_elements(in), tp_elements(in));
        }
    }
    if (tp_has_weights(q->kind) && fan_in > TP_MAX_UNITS) {
        return tp_fail_count(fault, TP_ERR_RANGE, "weights of a unit", (int32_t)l, fan_in, 1,
            TP_MAX_UNITS);
    }
    if (TP_MAPS && (c > TP_MAX_UNITS || (uint64_t)h * w * c > TP_MAX_MAP)) {
        bool channels = c > TP_MAX_UNITS;
        return tp_fail(fault, TP_ERR_RANGE, channels ? "channels" : "values of the output",
            (int32_t)l, channels ? (float)c : (float)h * (float)w * (float)c, 1.0f,
            channels ? (float)TP_MAX_UNITS : (float)TP_MAX_MAP);
    }
    shapes[l + 1u] = (tp_shape_t){(uint16_t)h, (uint16_t)w, (uint16_t)c};
    return TP_OK;
}

int tp_shapes(const tp_spec_t *s, tp_shape_t *shapes, tp_fault_t *fault) {
    shapes[0] = (tp_shape_t){(uint16_t)s->h, (uint16_t)s->w, (uint16_t)s->c};
    int err = TP_OK;
    for (uint32_t l = 0; l < s->n_layers && err == TP_OK; l++) {
        err = tp_row_shape(s, l, shapes, fault);
    }
    return err;
}

// --- Lifetimes ---

// How row l uses map r: 0 not, 1 as its source, 2 as the other.
static uint32_t tp_uses(const tp_spec_t *s, uint32_t l, uint32_t r) {
    const tp_layer_spec_t *q = &s->layers[l];
    if (!TP_MAPS) {
        return l == r;
    }
    return tp_resolve(q->source, l) == r                          ? 1
        : q->kind == TP_LAYER_ADD && tp_resolve(q->other, l) == r ? 2
                                                                  : 0;
}

static uint8_t tp_later(uint8_t a, uint32_t b) {
    return b > a ? (uint8_t)b : a;
}

// Which maps need a d: rows that train, and all behind them.
static bool tp_wants_d(const tp_spec_t *s, const uint8_t *flags, uint32_t r) {
    (void)s;
    return r > 0 && (flags[r - 1u] & TP_ROW_WANTS_D) != 0;
}

static void tp_flag_rows(const tp_spec_t *s, uint8_t *flags) {
    for (uint32_t l = 0; l < s->n_layers; l++) {
        const tp_layer_spec_t *q = &s->layers[l];
        bool wants = tp_has_weights(q->kind) && q->trainable != TP_TRAIN_NONE;
        wants = wants || tp_wants_d(s, flags, tp_source_of(q, l)) ||
            (TP_MAPS && q->kind == TP_LAYER_ADD && tp_wants_d(s, flags, tp_resolve(q->other, l)));
        flags[l] = wants ? TP_ROW_WANTS_D : 0;
        if (!TP_MAPS) {
            flags[l] |= TP_ROW_FIRST_SOURCE | TP_ROW_LAST_SOURCE;
        }
    }
    if (!TP_MAPS) {
        return;
    }
    for (uint32_t r = 0; r <= s->n_layers; r++) {
        bool lowest = true;
        for (uint32_t l = r; l < s->n_layers; l++) {
            uint32_t use = tp_uses(s, l, r);
            bool highest = use != 0;
            for (uint32_t later = l + 1u; later < s->n_layers; later++) {
                highest = highest && tp_uses(s, later, r) == 0;
            }
            uint32_t first = use == 1 ? TP_ROW_FIRST_SOURCE : TP_ROW_FIRST_OTHER;
            uint32_t last = use == 1 ? TP_ROW_LAST_SOURCE : TP_ROW_LAST_OTHER;
            flags[l] =
                (uint8_t)(flags[l] | (highest ? first : 0) | (use != 0 && lowest ? last : 0));
            lowest = lowest && use == 0;
        }
    }
}

static void tp_need(tp_span_t *a, uint32_t step) {
    a->again = a->again == 0 || step < a->again ? (uint8_t)step : a->again;
    a->again_to = tp_later(a->again_to, step);
}

// From when to when map r and its d are needed; a map by the forward and by the backward pass.
static void tp_live(const tp_spec_t *s, const uint8_t *flags, tp_span_t *spans, uint32_t r) {
    uint32_t last = s->n_layers;
    tp_span_t *a = &spans[r], *d = &spans[last + r];
    bool wants = tp_wants_d(s, flags, r);
    a->from = (uint8_t)(r > 0 ? r - 1u : 0);
    a->to = tp_later(a->from, r == last ? last : 0);
    uint32_t first_use = r == last ? last : 2u * last;
    for (uint32_t l = r; l < last && (TP_MAPS || l == r); l++) {
        const tp_layer_spec_t *q = &s->layers[l];
        if (tp_uses(s, l, r) == 0) {
            continue;
        }
        bool trains = tp_has_weights(q->kind) && q->trainable == TP_TRAIN_ALL;
        // x for the weights, or to find the largest; a for its derivative.
        bool again = trains || (TP_MAPS && wants && q->kind == TP_LAYER_MAX_POOL) ||
            (wants && s->layers[r - 1u].activation != TP_LINEAR);
        a->to = tp_later(a->to, l);
        if (again) {
            tp_need(a, 2u * last - l);
        }
        first_use = r == last ? first_use : 2u * last - l;
    }
    if (TP_MAPS && r > 0 && s->layers[r - 1u].kind == TP_LAYER_MAX_POOL && wants) {
        tp_need(a, 2u * last - (r - 1u));
    }
    if (r > 0 && wants) {
        d->from = (uint8_t)first_use;
        d->to = (uint8_t)(2u * last - (r - 1u));
    }
}

// Maps that are not to be computed again are kept in between; those that are need their source.
static void tp_keep_or_recompute(const tp_spec_t *s, tp_span_t *spans) {
    for (uint32_t r = s->n_layers + 1u; r-- > 0;) {
        tp_span_t *a = &spans[r];
        bool kept = r == 0 || r == s->n_layers || s->keep || !s->layers[r - 1u].recompute;
        kept = kept || !TP_MAPS;
        if (a->again == 0) {
            continue;
        }
        if (kept) {
            a->to = tp_later(a->to, a->again_to);
            a->again = a->again_to = 0;
            continue;
        }
        const tp_layer_spec_t *q = &s->layers[r - 1u];
        tp_need(&spans[tp_resolve(q->source, r - 1u)], a->again);
        if (q->kind == TP_LAYER_ADD) {
            tp_need(&spans[tp_resolve(q->other, r - 1u)], a->again);
        }
    }
}

static void tp_share(tp_span_t *spans, uint32_t with, uint32_t root) {
    root = spans[root].root;
    spans[with].root = (uint8_t)root;
    spans[root].to = tp_later(spans[root].to, spans[with].to);
}

// Rows that work value by value can write where they read.
static void tp_share_in_place(const tp_spec_t *s, const uint8_t *flags, tp_span_t *spans) {
    uint32_t last = s->n_layers;
    for (uint32_t l = 0; l < last; l++) {
        uint32_t source = tp_resolve(s->layers[l].source, l);
        const tp_span_t *root = &spans[spans[source].root];
        bool fits = l + 1u < last || tp_value_bytes(s->dtype) == 4u;
        if (s->layers[l].kind >= TP_LAYER_ADD && fits && root->to == l && root->again == 0 &&
            spans[l + 1u].again == 0) {
            tp_share(spans, l + 1u, source);
        }
    }
    for (uint32_t l = last; l-- > 0;) {
        uint32_t source = tp_resolve(s->layers[l].source, l), only = TP_ROW_FIRST_SOURCE;
        only |= TP_ROW_LAST_SOURCE;
        if (s->layers[l].kind >= TP_LAYER_ADD && (flags[l] & only) == only &&
            tp_wants_d(s, flags, source)) {
            tp_share(spans, last + source, last + l + 1u);
        }
    }
}

static bool tp_alive(const tp_span_t *a, uint32_t from, uint32_t to) {
    return (a->from <= to && from <= a->to) ||
        (TP_MAPS && a->again != 0 && a->again <= to && from <= a->again_to);
}

static bool tp_collide(const tp_span_t *a, const tp_span_t *b) {
    bool both = tp_alive(a, b->from, b->to) ||
        (TP_MAPS && b->again != 0 && tp_alive(a, b->again, b->again_to));
    return both && a->at < b->at + b->bytes && b->at < a->at + a->bytes;
}

// The lowest place where a span meets none that lives at the same time.
static void tp_place(tp_span_t *spans, uint32_t n, tp_span_t *span) {
    span->at = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (spans[i].placed && tp_collide(span, &spans[i])) {
            span->at = spans[i].at + spans[i].bytes;
            i = UINT32_MAX; // look at all again
        }
    }
    span->placed = 1;
}

static bool tp_roots(const tp_span_t *spans, uint32_t i) {
    return (!TP_MAPS || spans[i].root == i) && spans[i].bytes > 0;
}

// load[i]: the most bytes alive at once during the life of span i. Returns the most of all.
static uint32_t tp_loads(const tp_span_t *spans, uint32_t n, uint32_t *load) {
    uint32_t most = 0;
    memset(load, 0, n * sizeof(*load));
    for (uint32_t step = 0; step < n; step++) {
        uint32_t alive = 0;
        for (int pass = 0; pass < 2; pass++) {
            for (uint32_t i = 0; i < n; i++) {
                if (tp_roots(spans, i) && tp_alive(&spans[i], step, step)) {
                    load[i] = pass == 1 && alive > load[i] ? alive : load[i];
                    alive += pass == 0 ? spans[i].bytes : 0;
                }
            }
        }
        most = alive > most ? alive : most;
    }
    return most;
}

// In which order to place: the largest first; or what is alive when most is alive, of these the
// one that lives longest, or the largest, first; or the last first.
#define TP_ORDERS 4u
static bool tp_before(const tp_span_t *a, uint32_t load_a, const tp_span_t *b, uint32_t load_b,
    uint32_t order) {
    if (order == 3) {
        load_a = a->from;
        load_b = b->from;
    }
    if (order != 0 && load_a != load_b) {
        return load_a > load_b;
    }
    uint32_t bytes_a = a->bytes, bytes_b = b->bytes;
    if (order == 1) {
        bytes_a = (uint32_t)(a->to - a->from) << 24 | bytes_a >> 8;
        bytes_b = (uint32_t)(b->to - b->from) << 24 | bytes_b >> 8;
    }
    return bytes_a > bytes_b;
}

// Places all spans; the bytes they take.
static uint32_t tp_pack(tp_span_t *spans, uint32_t n, const uint32_t *load, uint32_t order) {
    uint32_t total = 0, next;
    for (uint32_t i = 0; i < n; i++) {
        spans[i].placed = 0;
    }
    do {
        next = n;
        for (uint32_t i = 0; i < n; i++) {
            bool open = tp_roots(spans, i) && !spans[i].placed;
            if (open &&
                (next == n || tp_before(&spans[i], load[i], &spans[next], load[next], order))) {
                next = i;
            }
        }
        if (next < n) {
            tp_place(spans, n, &spans[next]);
            uint32_t end = spans[next].at + spans[next].bytes;
            total = end > total ? end : total;
        }
    } while (next < n);
    return total;
}

uint32_t tp_arena(const tp_spec_t *s, const tp_shape_t *shapes, tp_span_t *spans, uint8_t *flags) {
    uint32_t last = s->n_layers, n = 2u * last + 1u;
    memset(spans, 0, n * sizeof(*spans));
    tp_flag_rows(s, flags);
    for (uint32_t r = 0; r <= last; r++) {
        uint32_t values = tp_elements(shapes[r]);
        // The output of an integer model has 32 bits.
        spans[r].bytes = r == last ? values * 4u : (values * tp_value_bytes(s->dtype) + 3u) & ~3u;
        if (tp_wants_d(s, flags, r)) {
            spans[last + r].bytes = values * 4u;
        }
        tp_live(s, flags, spans, r);
    }
    tp_keep_or_recompute(s, spans);
    for (uint32_t i = 0; i < n; i++) {
        spans[i].root = (uint8_t)i;
        if (s->keep) {
            spans[i].from = 0;
            spans[i].to = UINT8_MAX;
        }
    }
    if (TP_MAPS && !s->keep) {
        tp_share_in_place(s, flags, spans);
    }
    uint32_t load[TP_SPANS], best = 0;
    uint32_t least = tp_loads(spans, n, load), total = tp_pack(spans, n, load, 0);
    for (uint32_t order = 1; order < TP_ORDERS && total > least; order++) {
        uint32_t other = tp_pack(spans, n, load, order);
        best = other < total ? order : best;
        total = other < total ? other : total;
    }
    tp_pack(spans, n, load, best);
    for (uint32_t i = 0; TP_MAPS && i < n; i++) {
        spans[i].at = spans[spans[i].root].at;
    }
    return total;
}
