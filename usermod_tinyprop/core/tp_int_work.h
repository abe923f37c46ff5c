// A row of integer training at work: what its passes share (tp_int_rows.c, tp_int_plain.c).
#ifndef TP_INT_WORK_H
#define TP_INT_WORK_H

#include "tp_int.h"

#if TP_INTEGER

typedef struct {
    tp_model_t *m;
    tp_layer_t *t;
    uint32_t l;
    tp_geometry_t g;
    bool wide, last, skip;
    uint32_t bytes;    // of a value of a map, of a weight
    const uint8_t *x;  // source map
    uint8_t *out, *w;
    int32_t *b, *d;
    const tp_range_t *in;
    tp_range_t *range; // of the output
    int32_t slope;     // * 32768
    uint16_t *columns;
    tp_ki_index_t index; // of a dense layer, whose only patch is the map
    uint8_t *gathered;
    int32_t *spare;
} tp_int_t;

static inline bool tp_squashes(const tp_layer_t *t) {
    return t->activation >= TP_SIGMOID;
}

static inline size_t tp_place(const tp_k_window_t *q, int32_t y, int32_t x) {
    return ((size_t)y * (size_t)q->w + (size_t)x) * (size_t)q->c + (size_t)q->c0;
}

// Place (y, x) of the map in the order of a patch.
static inline size_t tp_tap(const tp_k_window_t *q, int32_t y, int32_t x) {
    return (size_t)((y - q->y0) * q->kw + x - q->x0);
}

// So many places in a line lie one after the other, in the map as in the patch.
static inline int32_t tp_run(const tp_k_window_t *q, const tp_k_inside_t *in) {
    return q->n == q->c ? in->x_end - in->x : 1;
}

// The window at place (y, x) of the output, of one group of channels.
static inline tp_k_window_t tp_int_window(const tp_geometry_t *g, int32_t y, int32_t x,
    uint32_t group) {
    int32_t n = (int32_t)(g->groups > 1 ? 1u : g->in.c);
    return (tp_k_window_t){g->in.h, g->in.w, g->in.c, g->kh, g->kw, y * g->sh - g->top,
        x * g->sw - g->left, (int32_t)group * n, n};
}

// tp_int_rows.c
// z * 2^e_z becomes output i of the row. Returns its size before it is rounded, where that counts.
int64_t tp_int_finish(const tp_int_t *k, size_t i, int64_t z, int32_t e_z);

// tp_int_plain.c: rows without weights; d of the source map begins or goes on.
// The d map of row `source` - 1 takes what a row behind it adds in units of 2^e. Returns how far that
// has to be shifted right; -1: there is no such map. It is cleared for the `first` one.
int32_t tp_int_join(tp_model_t *m, uint32_t source, bool first, int32_t e, const int32_t *unless);
void tp_int_plain_forward(const tp_int_t *k);
// Returns whether it has to be done again, at a larger exponent.
bool tp_int_pool_forward(const tp_int_t *k);
void tp_int_pass_on(const tp_int_t *k);

#endif
#endif
