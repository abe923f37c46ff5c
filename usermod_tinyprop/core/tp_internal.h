// Shared by the files of the core, not part of the contract.
#ifndef TP_INTERNAL_H
#define TP_INTERNAL_H

#include "../kernels/tp_kernels.h"
#include "tp.h"

#define TP_MAGIC 0x31425054u // "TPB1"

static inline float *tp_at(tp_model_t *m, uint32_t offset) {
    return (float *)((uint8_t *)m + offset);
}

static inline tp_layer_t *tp_table(tp_model_t *m) {
    return (tp_layer_t *)(m + 1);
}

// Fill fault (may be NULL) and pass the code on.
int tp_fail(tp_fault_t *fault, int code, const char *what, int32_t layer, float got, float lo,
    float hi);

#define TP_HUGE 3.4028234e38f

// tp_plan.c
// The layout of a block, in one place. Offsets are written to m and table where these are given.
int tp_layout(const tp_spec_t *s, tp_plan_t *plan, tp_model_t *m, tp_layer_t *table,
    tp_fault_t *fault);
// lo <= x <= hi; false for NaN.
bool tp_within(float x, float lo, float hi);
int tp_check_optimizer(const tp_opt_t *opt, tp_fault_t *fault);
int tp_check_policy(const tp_policy_t *policy, tp_fault_t *fault);
bool tp_keeps_momentum(const tp_opt_t *opt);

// tp_policy.c: what a policy wants of one layer.
typedef struct {
    uint32_t k;    // rows asked for, 1..O
    float ratio;   // S
} tp_choice_t;
// Decide after the forward pass; d is that of the output layer. *y = its sum of |d|.
bool tp_policy_decide(tp_model_t *m, const float *d, float *y);
// k for layer l. y = sum |d| of the layer, y_after = that of the layer behind it.
tp_choice_t tp_policy_choose(tp_model_t *m, uint32_t l, float y, float y_after);

// After selection: scale the kept d (n) so that their sum of |d| is y again, if the policy says so.
void tp_policy_rescale(const tp_model_t *m, float *d, uint32_t n, float y);

// tp_optim.c: apply the gradient to layer l.
void tp_optim_begin(tp_model_t *m);
bool tp_optim_in_place(const tp_model_t *m); // plain SGD at batch 1: update fused with dx
void tp_optim_row(tp_model_t *m, tp_layer_t *layer, uint32_t row, float d, const float *x,
    const tp_k_index_t *index);
void tp_optim_rest(tp_model_t *m, tp_layer_t *layer, const float *d);
void tp_optim_bias(tp_model_t *m, tp_layer_t *layer, const float *d);

#endif
