// Shared by the files of the core, not part of the contract.
#ifndef TP_INTERNAL_H
#define TP_INTERNAL_H

#include "../kernels/tp_kernels.h"
#include "../kernels/tp_kernels_cores.h"
#include "tp.h"

#define TP_MAGIC 0x32425054u // "TPB2"

static inline float *tp_at(tp_model_t *m, uint32_t offset) {
    return (float *)((uint8_t *)m + offset);
}

static inline tp_layer_t *tp_table(tp_model_t *m) {
    return (tp_layer_t *)(m + 1);
}

static inline uint32_t tp_scale_offset(const tp_model_t *m) {
    return (uint32_t)(sizeof(tp_model_t) + m->n_layers * sizeof(tp_layer_t));
}

// Scale (n_scale), then offset (n_scale).
static inline float *tp_scale(tp_model_t *m) {
    return tp_at(m, tp_scale_offset(m));
}

// What dense chains have in common stands in these few, as a constant where there is nothing else
// (TP_MAPS 0), so that the compiler drops what only maps need.
static inline int32_t tp_high(const tp_layer_t *t) {
    return TP_MAPS ? t->h : 1;
}

static inline int32_t tp_wide(const tp_layer_t *t) {
    return TP_MAPS ? t->w : 1;
}

static inline uint32_t tp_n_places(const tp_layer_t *t) {
    return (uint32_t)tp_high(t) * (uint32_t)tp_wide(t);
}

static inline uint32_t tp_row_size(const tp_layer_t *t) {
    return tp_n_places(t) * t->c;
}

static inline bool tp_is_int(const tp_model_t *m) {
    return TP_INTEGER && m->dtype != 0;
}

// Bytes of one weight and of one value of a map.
static inline uint32_t tp_value_bytes(uint8_t dtype) {
    return dtype == TP_I8 ? 1u : dtype == TP_I16 ? 2u : 4u;
}

static inline bool tp_has_weights(uint8_t kind) {
    return !TP_MAPS || kind <= TP_LAYER_DEPTHWISE;
}

static inline bool tp_is_external(const tp_layer_t *t) {
    return TP_MAPS && (t->flags & TP_ROW_EXTERNAL) != 0;
}

static inline bool tp_has_flag(const tp_layer_t *t, uint32_t flag) {
    // Each map of a chain has one row that takes it, which is the first and the last one.
    return !TP_MAPS || (t->flags & flag) != 0;
}

// Fill fault (may be NULL) and pass the code on. Not inline: there are dozens of calls.
#define TP_CALLED __attribute__((noinline))
TP_CALLED int tp_fail(tp_fault_t *fault, int code, const char *what, int32_t layer, float got,
    float lo, float hi);
// The same about counts.
TP_CALLED int tp_fail_count(tp_fault_t *fault, int code, const char *what, int32_t layer,
    uint32_t got, uint32_t lo, uint32_t hi);

#define TP_HUGE 3.4028234e38f

typedef struct {
    uint16_t h, w, c;
} tp_shape_t;

static inline uint32_t tp_elements(tp_shape_t s) {
    return (uint32_t)s.h * s.w * s.c;
}

// How the windows of one row lie on the map before it.
typedef struct {
    tp_shape_t in;
    int32_t kh, kw, sh, sw, top, left; // top, left: how far the first window hangs over
    uint32_t groups;     // channels are taken together in so many groups
    uint32_t fan_in;     // K
    uint32_t filters;    // of one group
    bool contiguous;     // the values of a window lie one after the other in memory
} tp_geometry_t;

static inline bool tp_is_contiguous(const tp_geometry_t *g) {
    return !TP_MAPS || g->contiguous;
}

static inline uint32_t tp_groups(const tp_geometry_t *g) {
    return TP_MAPS ? g->groups : 1u;
}

// Map r of a model: 0 its input, r the output of row r - 1.
static inline tp_shape_t tp_map_shape(const tp_model_t *m, uint32_t r) {
    const tp_layer_t *t = (const tp_layer_t *)(m + 1) + (r - 1u);
    return r == 0 ? (tp_shape_t){m->h, m->w, m->c} : (tp_shape_t){t->h, t->w, t->c};
}

static inline float *tp_map(tp_model_t *m, uint32_t r) {
    return tp_at(m, r == 0 ? m->off_input : tp_table(m)[r - 1u].off_act);
}

// tp_plan.c
// The layout of a block, in one place. Offsets are written to m and table where these are given.
int tp_layout(const tp_spec_t *s, tp_plan_t *plan, tp_model_t *m, tp_layer_t *table,
    tp_fault_t *fault);
// lo <= x <= hi; false for NaN.
bool tp_within(float x, float lo, float hi);
int tp_check_optimizer(const tp_opt_t *opt, tp_fault_t *fault);
int tp_check_policy(const tp_policy_t *policy, tp_fault_t *fault);
bool tp_keeps_momentum(const tp_opt_t *opt);

// tp_graph.c
// Bytes at an offset for as long as steps from..to of one training sample go on, and once more at
// again..again_to, if again is not 0.
typedef struct {
    uint32_t bytes, at;
    uint8_t from, to, root, placed; // root: the span whose memory this one shares
    uint8_t again, again_to;
} tp_span_t;
#define TP_SPANS (2u * TP_MAX_LAYERS + 1u)
// The map that row l takes as its source (or other).
uint32_t tp_resolve(uint8_t wish, uint32_t l);
static inline uint32_t tp_source_of(const tp_layer_spec_t *s, uint32_t l) {
    return TP_MAPS ? tp_resolve(s->source, l) : l;
}
// Shapes of all maps (n_layers + 1).
int tp_shapes(const tp_spec_t *s, tp_shape_t *shapes, tp_fault_t *fault);
// Geometry from what stands in a row of the table, and the shape of its source.
tp_geometry_t tp_geometry(const tp_layer_t *t, tp_shape_t in);
// Flags of all rows, and where maps (spans 0..L) and their d (span L + r for map r) lie in the
// arena; returns its bytes, which fit as TP_MAX_MAP and TP_MAX_LAYERS are what they are.
uint32_t tp_arena(const tp_spec_t *s, const tp_shape_t *shapes, tp_span_t *spans, uint8_t *flags);

// tp_math.c: all bits of x, mixed.
uint32_t tp_hash(uint32_t x);

// tp_layer.c
void tp_layer_forward(tp_model_t *m, uint32_t l, uint64_t *macs);
// d of row l is complete: its parameters take their step, d of its sources is formed. y = sum |d|,
// y_after = that of the row with weights behind it.
// trace: NULL, or where to write down what it took.
void tp_layer_backward(tp_model_t *m, uint32_t l, float y, float y_after, const tp_trace_t *trace);
// From the last row down; y = sum |d| of the last one.
void tp_backward(tp_model_t *m, float y, const tp_trace_t *trace);

// The time since the last mark went into this pass of row l.
static inline void tp_mark(const tp_trace_t *trace, uint32_t l, uint32_t pass) {
    if (trace != NULL) {
        trace->rows[l].ticks[pass] += trace->lap(trace->context);
    }
}

// tp_model.c: value i of a target, one-hot for a class index.
float tp_target_at(const tp_target_t *y, uint32_t i);

// tp_int.c: what tp_layer.c and tp_model.c do, for integers.
void tp_int_begin(tp_model_t *m); // ranges before anything is known
// Weights that are put next are at most so large.
void tp_int_weights_within(tp_model_t *m, uint32_t l, float limit);
void tp_int_put_weight(tp_model_t *m, uint32_t l, size_t i, float w);
void tp_int_put_bias(tp_model_t *m, uint32_t l, size_t i, float b);
float tp_int_weight(tp_model_t *m, uint32_t l, size_t i);
float tp_int_bias(tp_model_t *m, uint32_t l, size_t i);
bool tp_int_check(tp_model_t *m); // of a block from outside: are the ranges possible?
int tp_int_input(tp_model_t *m, const tp_view_t *x, uint32_t *bad);
void tp_int_forward(tp_model_t *m, uint32_t l, uint64_t *macs);
float tp_int_loss(tp_model_t *m, const tp_target_t *y);
void tp_int_predict(tp_model_t *m, float *out);
uint32_t tp_int_best(tp_model_t *m);
void tp_int_output_delta(tp_model_t *m, const tp_target_t *y);
float tp_int_sum_abs(tp_model_t *m, uint32_t l);
void tp_int_backward(tp_model_t *m, uint32_t l, float y, float y_after, const tp_trace_t *trace);
// After a step: ranges of weights and maps.
void tp_int_end_step(tp_model_t *m, bool trained);
void tp_int_shrink_ranges(tp_model_t *m, bool forget);

// tp_policy.c: what a policy wants of one layer.
typedef struct {
    uint32_t k;  // values (or channels) asked for, 1..n
    float ratio; // S
} tp_choice_t;
// Decide after the forward pass; y = sum |d| of the output layer, needed from TinyProp on.
bool tp_policy_decide(tp_model_t *m, float y);
// k of n for layer l. y = sum |d| of the layer, y_after = that of the layer behind it.
tp_choice_t tp_policy_choose(tp_model_t *m, uint32_t l, uint32_t n, float y, float y_after);

// After selection: scale the kept d (n) so that their sum of |d| is y again, if the policy says so.
void tp_policy_rescale(const tp_model_t *m, float *d, uint32_t n, float y);

// tp_optim.c: apply the gradient to layer l.
void tp_optim_begin(tp_model_t *m);
bool tp_optim_in_place(const tp_model_t *m); // plain SGD at batch 1: update fused with dx
// g = gradient of one filter: an optimiser step, or a part of the sum of the mini-batch. index may
// be NULL.
void tp_optim_row(tp_model_t *m, tp_layer_t *layer, uint32_t row, float d, const float *x,
    const tp_k_index_t *index);
// Rows with exact optimisers that had no part in it; touched (rows) tells which had.
bool tp_optim_moves_all(const tp_model_t *m);
void tp_optim_untouched(tp_model_t *m, tp_layer_t *layer, uint32_t row);
void tp_optim_bias(tp_model_t *m, tp_layer_t *layer, const float *d);

#endif
