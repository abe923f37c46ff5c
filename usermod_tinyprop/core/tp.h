// tinyprop core: sparse on-device training of neural networks. The only public header.
//
// A model is one flat, relocatable block of memory that the caller owns: header, layer table,
// parameters, optimiser state, activations, scratch. It holds offsets, never pointers, so the
// block may be moved, copied or read by another program while no call runs. All numbers in it
// are little-endian. The core allocates nothing, prints nothing and keeps no state elsewhere.
//
// Letters used everywhere: I inputs and O outputs of a layer, n a count of elements,
// l a layer (1..L), a activation, z pre-activation, d (delta) the loss gradient dLoss/dz.
// Matrices are row-major; a weight matrix W is (O, I). A map is (H, W, C), channels fastest; a
// vector is a map of height and width 1.
//
// A network is a list of rows, one for each layer that computes something. A row takes the
// output of the row before it, or of any other one before it, so a network may branch.
//
// Numerics (DESIGN.md, "Numerics", is the full definition): IEEE single, round to nearest, no
// fused multiply-add. Every sum over elements uses four lanes: lane j adds the elements with
// index i % 4 == j in rising order, starting from +0; the result is (s0 + s2) + (s1 + s3).
//
// Errors: functions return TP_OK or a positive answer on success and a negative TP_ERR_* code
// on failure. On failure the model is unchanged and usable. Where a tp_fault_t is passed it
// tells what was wrong, with both numbers.
#ifndef TP_H
#define TP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tp_config.h"

enum {
    TP_OK = 0,
    TP_ERR_SHAPE = -1,     // a count of elements or units does not match
    TP_ERR_RANGE = -2,     // a value lies outside its allowed range
    TP_ERR_DTYPE = -3,     // an element type is not known or not allowed here
    TP_ERR_NONFINITE = -4, // NaN or infinity in an input, a target or the loss
    TP_ERR_BLOCK = -5,     // the block is too small or not aligned to TP_BLOCK_ALIGN
    TP_ERR_SIZE = -6,      // the model needs more bytes than a 32-bit offset can address
    TP_ERR_FORMAT = -7,    // not a tinyprop model, or a damaged one
    TP_ERR_FEATURE = -8,   // this build has no such thing (tp_config.h); what names it
};

// What was wrong. `layer` is the index in the layer table, -1 where no layer is meant.
// The allowed range is lo..hi; a plain mismatch has lo == hi.
typedef struct {
    const char *what;
    int32_t layer;
    float got, lo, hi;
} tp_fault_t;

// Of buffers and, as f32, i16 and i8, of models.
enum tp_dtype { TP_F32 = 'f', TP_I32 = 'i', TP_I16 = 'h', TP_I8 = 'b', TP_U8 = 'B' };
enum tp_layer_kind {
    TP_LAYER_DENSE = 1, // z = W x + b, x the whole map before it
    TP_LAYER_CONV,      // z[p] = W patch(p) + b at every place p
    TP_LAYER_DEPTHWISE, // the same for every channel on its own
    TP_LAYER_MAX_POOL,
    TP_LAYER_AVERAGE_POOL, // of what lies inside the map
    TP_LAYER_ADD,          // of two maps of the same shape
    TP_LAYER_DROPOUT,      // while training: x / (1 - rate) or, with probability rate, 0
    TP_LAYER_KINDS
};
enum tp_activation { TP_LINEAR = 0, TP_RELU, TP_LEAKY_RELU, TP_SIGMOID, TP_TANH };
enum tp_loss { TP_SOFTMAX_CROSS_ENTROPY = 0, TP_MEAN_SQUARED_ERROR };
enum tp_init { TP_INIT_AUTO = 0, TP_INIT_HE, TP_INIT_GLOROT, TP_INIT_ZEROS, TP_INIT_ONES };
enum tp_select { TP_SELECT_ELEMENTS = 0, TP_SELECT_CHANNELS };
enum tp_trainable { TP_TRAIN_NONE = 0, TP_TRAIN_BIAS, TP_TRAIN_ALL };
enum tp_optimizer { TP_SGD = 0, TP_ADAM };
enum tp_rows { TP_ROWS_LAZY = 0, TP_ROWS_EXACT };
enum tp_policy_kind { TP_FULL = 0, TP_TOPK, TP_TINYPROP, TP_TINYPROPV2 };

// Optimiser. g is the gradient of one element, w the parameter; rate = lr.
//   SGD, momentum 0:  w = decay * w - rate * g,   decay = 1 - lr * weight_decay
//   SGD with momentum: v = momentum * v + (g + weight_decay * w);   w = w - rate * v
//          (of integer models v = momentum * v - rate * g;  w = w + v)
//   Adam:  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g g;
//          w = w - rate_t * m / (sqrt(v) + eps),  rate_t = lr * sqrt(1 - b2^t) / (1 - b1^t)
//          t counts training steps of the whole model (Kingma & Ba, section 2, last paragraph).
// With weight decay, Adam takes g + weight_decay * w for g. Biases are never decayed.
// `rows` matters where a policy keeps only some rows of a layer. TP_ROWS_LAZY: rows that were
// not kept, and rows whose d is 0 under any policy, are not touched at all (their momentum and
// decay wait). TP_ROWS_EXACT: they take a
// step with g = 0, as a dense optimiser would; this costs a pass over the whole layer.
typedef struct {
    uint8_t kind; // enum tp_optimizer
    uint8_t rows; // enum tp_rows
    uint16_t pad;
    float lr;           // > 0
    float momentum;     // SGD: 0 <= momentum < 1
    float weight_decay; // >= 0, lr * weight_decay < 1
    float beta1, beta2; // Adam: 0 <= beta < 1
    float eps;          // Adam: > 0
} tp_opt_t;

// Policy: which samples train, and which rows of a layer (algorithms: meProp 1706.06197,
// TinyProp 2308.09201, TinyPropv2 2409.07109). pos is the distance of a layer from the output
// (0 at the output). Y_l = sum |d_l|, Ymax_l = the largest Y_l so far, alpha_l = Y_l / Ymax_l
// (where Ymax_l == 0: alpha = 0, beta of mode 1 = 0, S = s_min).
//   TopK:       k rows (or k = round(ratio * O), at least 1) in hidden layers; the output layer
//               keeps all rows
//   TinyProp:   S_l = (s_min + alpha_l (s_max - s_min)) * zeta^pos
//               k_l = round(O * S_l) limited to 1..O
//   TinyPropV2: D_L = (d_min + alpha_L (d_max - d_min)) * beta_L; train iff D_L > threshold,
//               then as TinyProp. beta_mode 0: beta_l = zeta^pos. beta_mode 1: alpha_L = 1,
//               alpha_l = min(1, Y_l / Y_(l+1)), beta_l = Y_l / Ymax_l, also in S_l.
// beta_mode works for TinyProp too. With `dense_output` the two keep all rows of the output layer
// and report S = 1 there.
// Kept are the rows with the largest |d|; of equal ones those with the lowest index. The bias
// takes the full d. With `rescale` (our addition, not in the papers) the kept rows carry the
// error of the whole layer. Rows with d == 0 are never updated by plain SGD (same result, less work).
typedef struct {
    uint8_t kind;         // enum tp_policy_kind
    uint8_t beta_mode;    // 0 or 1
    uint8_t dense_output; // 1: the output layer keeps all rows
    uint8_t backoff;      // 0..TP_BACKOFF_MAX epochs; used by whoever stores samples
    float ratio;          // TopK: 0 < ratio <= 1 where k == 0
    float s_min, s_max;   // 0 <= s_min <= s_max <= 1
    float zeta;           // 0 < zeta <= 1
    float d_min, d_max;   // 0 <= d_min <= d_max
    float threshold;      // any finite number
    float ymax_decay;     // 0 < ymax_decay <= 1, applied to every Ymax at the end of an epoch
    uint32_t k;           // TopK: rows, 0 = use ratio
    uint32_t warmup;      // the first samples train whatever D says
    uint32_t max_skips;   // after so many skips in a row one sample trains; 0 = off
    uint8_t rescale;      // 1: kept d are multiplied by sum |d| of all / sum |d| of the kept
    uint8_t pad[3];
} tp_policy_t;

// One row of the network. For every kind: kind, activation, slope, source. Zeros mean: not used,
// or the usual. A patch is what a window covers, (kernel_h, kernel_w, channels), zeros where it
// hangs over the edge; a filter has K weights, one for each value of its patch.
#define TP_FROM_INPUT 255
typedef struct {
    uint8_t kind;       // enum tp_layer_kind
    uint8_t activation; // enum tp_activation
    uint8_t init;       // enum tp_init; AUTO: He for (leaky) ReLU, else Glorot; both uniform
    uint8_t trainable;  // enum tp_trainable
    uint32_t units; // Dense: O; conv: filters; depthwise: filters per channel; 1..TP_MAX_UNITS
    float slope; // leaky ReLU: slope below 0; dropout: rate; 0 <= slope < 1
    uint8_t kernel_h, kernel_w; // window, 1..255; pooling: 0 = the whole map
    uint8_t stride_h, stride_w; // 1..255; 0 counts as 1
    uint8_t
        same; // 1: ceil(size / stride) places, zeros around the map; 0: (size - kernel) / stride + 1
    uint8_t select; // enum tp_select: what a policy keeps of this layer
    uint8_t source; // 0: the row before it; r: the output of row r - 1; or TP_FROM_INPUT
    uint8_t other; // add: the second map, as source
    uint16_t rows; // train only the first so many filters; 0 = all
    uint8_t external; // its W and b lie outside the block (tp_model_external), but what trains
    uint8_t recompute; // 1: its output is not kept for the backward pass but computed again
} tp_layer_spec_t;

// What the user asked for; only read while planning and initialising.
typedef struct {
    uint32_t h, w, c; // shape of one input, a vector is 1, 1, n; at most TP_MAX_MAP elements
    uint32_t n_layers;
    const tp_layer_spec_t *layers;
    uint8_t loss; // enum tp_loss
    uint8_t keep; // 1: no activation or d shares memory with another, to look at them
    uint8_t zero_skip; // zero inputs are skipped up to this share of non-zero ones; 0 = never
    uint32_t batch; // samples per update, 1..65535; 1 = update in place, no gradient buffer
    uint32_t seed;
    // Integer inputs q become x = q * scale[i % n_scale] + offset[i % n_scale]; float32 inputs
    // are taken as they are. n_scale divides n_in; 0 = scale 1, offset 0.
    uint32_t n_scale;
    const float *scale, *offset;
    tp_opt_t opt;
    tp_policy_t policy;
    // TP_F32 (or 0), TP_I16 or TP_I8: of weights and maps. Integers train by SGD without weight decay
    // at batch 1.
    uint8_t dtype;
} tp_spec_t;

// Where the bytes of a model go. total = the sum of the rest but for external.
typedef struct {
    uint32_t total;
    uint32_t persist; // bytes of the prefix that a checkpoint holds
    uint32_t header; // header, layer table, input scale, ranges
    uint32_t parameters; // W and b
    uint32_t optimizer; // momentum, Adam moments
    uint32_t gradients; // 0 at batch 1
    uint32_t activations; // input, layer outputs and their d, as far as they live at once
    uint32_t scratch; // one patch, its d, index of its non-zero values; sums over a map
    uint32_t external; // bytes of parameters outside the block, those that train among them
} tp_plan_t;

// One row of the layer table. Offsets count bytes from the start of the block; 0 = absent.
typedef struct {
    uint8_t kind, activation, init, trainable;
    uint8_t source, other; // 0: the model's input, r: the output of row r - 1
    uint8_t kernel_h, kernel_w, stride_h, stride_w, same, select;
    uint8_t flags; // TP_ROW_*
    uint8_t again; // its output is computed again before the backward pass of row again - 1; 0: no
    uint16_t rows; // filters that train
    uint16_t h, w, c; // output
    uint16_t pad2;
    float slope;
    uint32_t off_w; // W (c, K), then b (c); of an external row W (rows, K), b if it trains
    uint32_t off_m; // momentum or first moment, W (rows, K; of integers 16 bits) then b (c)
    uint32_t off_v; // second moment
    uint32_t off_g; // gradient sum of the mini-batch, W then b, then one flag byte a filter
    uint32_t off_act; // a (h, w, c)
    uint32_t off_d; // d (h, w, c)
    float ymax; // policy state
    float ratio; // S of the last trained sample
    uint32_t k; // values of d kept of the last trained sample
    uint64_t k_sum; // values kept, all trained samples
    uint64_t macs; // backward multiply-accumulates executed
} tp_layer_t;

enum {
    TP_ROW_WANTS_D = 1, // this row or one before it trains
    TP_ROW_FIRST_SOURCE = 2, // backward: the first row to add to d of its source
    TP_ROW_LAST_SOURCE = 4, // backward: the last one
    TP_ROW_FIRST_OTHER = 8,
    TP_ROW_LAST_OTHER = 16,
    TP_ROW_EXTERNAL = 32,
};

// The head of a block; the layer table follows it, then the input scale.
typedef struct {
    uint32_t magic;
    uint32_t block_bytes, persist_bytes;
    uint8_t n_layers, loss, keep, zero_skip;
    uint16_t batch, n_scale;
    uint16_t h, w, c; // shape of one input
    uint16_t index; // columns with a non-zero input, grouped by lane: room for so many
    uint32_t off_input; // a_0 (h, w, c)
    uint32_t off_scratch; // index (uint16), then floats
    uint32_t dropout_key; // of the sample that trains; 0: no dropout
    uint32_t seed;
    uint32_t rng[4];
    tp_opt_t opt;
    float beta1_t, beta2_t; // beta^t
    tp_policy_t policy;
    uint16_t batch_seen, batch_trained;
    uint32_t skips_in_row;
    uint8_t dtype, pad; // enum tp_dtype, 0: float32
    uint16_t listed; // integers, within a step: 1 + columns of a_0 that the index begins with
    uint64_t seen; // samples offered for training
    uint64_t trained; // of these: backward pass done
    uint64_t skipped; // forward pass only
    uint64_t waited; // not even a forward pass (back-off)
    uint64_t forward_macs;
    uint64_t policy_macs; // backward, as if zeros were not skipped
} tp_model_t;

// Integer models: exponents of one map, of its d and of the weights of the row that makes it, value =
// q * 2^e. One record for the input, then one for each row; they follow the input scale.
typedef struct {
    int8_t e_w, e_a;
    int16_t e_d;
    uint32_t peak; // largest value since the range was looked at, in units of 2^e_a
} tp_range_t;

// Elements of any buffer, borrowed for one call.
typedef struct {
    const void *data;
    uint32_t count;
    uint8_t dtype; // enum tp_dtype
} tp_view_t;

// A target: a class index (data == NULL) or one value per output.
typedef struct {
    int32_t index;
    tp_view_t values;
} tp_target_t;

// --- Fields of a structure, for checks and for whoever reads or shows them one by one ---

enum tp_field_kind { TP_FIELD_U8, TP_FIELD_U16, TP_FIELD_U32, TP_FIELD_U64, TP_FIELD_F32 };
// What a float may be.
enum tp_float_range {
    TP_ANY_FINITE,
    TP_ABOVE_0,
    TP_AT_LEAST_0,
    TP_0_BELOW_1,
    TP_ABOVE_0_TO_1,
    TP_0_TO_1,
    TP_FROM_THE_ONE_BEFORE = 8 // added: not below the float in front of it
};
typedef struct {
    const char *what;
    uint16_t hi; // of an integer, 0: all of 31 bits; of a float, enum tp_float_range
    uint8_t kind : 7; // enum tp_field_kind
    uint8_t lo : 1; // of an integer
    uint8_t offset; // in the structure
} tp_field_t;
#define TP_OPT_FIELDS 8
#define TP_POLICY_FIELDS 16
#define TP_SPEC_FIELDS 9
#define TP_LAYER_SPEC_FIELDS 17
extern const tp_field_t tp_opt_fields[TP_OPT_FIELDS], tp_policy_fields[TP_POLICY_FIELDS];
extern const tp_field_t tp_spec_fields[TP_SPEC_FIELDS];
extern const tp_field_t tp_layer_spec_fields[TP_LAYER_SPEC_FIELDS];

// --- Planning and life of a model ---

// Check a specification and compute the bytes it needs. fault may be NULL.
int tp_plan(const tp_spec_t *spec, tp_plan_t *plan, tp_fault_t *fault);

// The specification that a model came from; layers: room for TP_MAX_LAYERS. Both point into the
// block. False where its scale cannot lie there.
bool tp_model_spec(tp_model_t *m, tp_spec_t *spec, tp_layer_spec_t *layers);

// Lay out a model in block (aligned to TP_BLOCK_ALIGN, at least plan.total bytes) and draw its
// weights from the seed. Biases start at 0.
int tp_model_init(void *block, size_t bytes, const tp_spec_t *spec, tp_fault_t *fault);

// Full check of a block that came from outside (a file): header, table and every offset must
// be what tp_plan gives for the same specification, every number in its range, and parameters
// finite. Volatile parts are cleared; a block that is refused may have changed. TP_ERR_FORMAT,
// TP_ERR_BLOCK where bytes is too small, TP_ERR_FEATURE where only another build can use it.
int tp_model_check(void *block, size_t bytes);

// Cheap check for each call: block is a live model that fits into bytes. NULL if not.
tp_model_t *tp_model_get(void *block, size_t bytes);

tp_layer_t *tp_model_layer(tp_model_t *m, uint32_t l);
// W (c, K) and K of a row; NULL where it has none, or where they lie outside and are not known.
// Of an external row that trains some filters: W (rows, K), those in the block.
// float, or int16 or int8 by the dtype of the model.
void *tp_layer_weights(tp_model_t *m, uint32_t l);
void *tp_layer_bias(tp_model_t *m, uint32_t l); // b (c): float, or int32 with exponent -20
// Where an external row has all its W, then b; NULL where that is not known.
const float *tp_layer_external(tp_model_t *m, uint32_t l);
uint32_t tp_layer_fan_in(const tp_model_t *m, uint32_t l);
// a (h, w, c) after tp_predict, d after a training step; of a model that was not made with `keep`,
// rows behind may have taken their memory since.
// Of integer models a has their dtype, that of the last row is float32 after tp_predict; d is int32.
void *tp_layer_output(tp_model_t *m, uint32_t l);
void *tp_layer_delta(tp_model_t *m, uint32_t l); // NULL where none is needed
tp_range_t *tp_model_ranges(tp_model_t *m); // (n_layers + 1); only of integer models
// Weights W (c, K) and biases b (c) of a row as float32, out of the model and into it. Either may be
// NULL. TP_ERR_NONFINITE, or TP_ERR_RANGE where the row has no weights in the block.
int tp_get_weights(tp_model_t *m, uint32_t l, float *w, float *b);
int tp_set_weights(tp_model_t *m, uint32_t l, const float *w, const float *b);
uint32_t tp_model_inputs(const tp_model_t *m);
uint32_t tp_model_outputs(const tp_model_t *m);

// Tell where the parameters of external rows are, W then b, row after row, at a multiple of 4.
// To be told again before each use of the model if they or the block may have moved; not kept in
// checkpoints. TP_ERR_BLOCK where bytes is too small.
int tp_model_external(tp_model_t *m, const void *parameters, size_t bytes, tp_fault_t *fault);
// Copy what trains of external rows into the block, where it is 0 at first: their start values.
void tp_model_take_external(tp_model_t *m);

// Draw all weights anew, forget optimiser state, policy state and counters.
void tp_model_reset(tp_model_t *m, uint32_t seed);

// Change hyper-parameters at run time; checked like in tp_plan. The kind and anything that
// changes the layout (momentum from or to 0) must stay.
int tp_set_optimizer(tp_model_t *m, const tp_opt_t *opt, tp_fault_t *fault);
int tp_set_policy(tp_model_t *m, const tp_policy_t *policy, tp_fault_t *fault);

// --- Use ---

// Forward pass. out (O of the last layer) = softmax probabilities for the cross-entropy loss,
// activations of the last layer otherwise. out may be NULL: read tp_layer_output of the last.
int tp_predict(tp_model_t *m, const tp_view_t *x, float *out, tp_fault_t *fault);

// Index of the largest output (lowest index of equal ones) in best, loss for y in loss. The
// layer outputs hold logits afterwards, not probabilities.
int tp_evaluate(tp_model_t *m, const tp_view_t *x, const tp_target_t *y, float *loss,
    uint32_t *best, tp_fault_t *fault);

// One training sample: forward, loss, decide, backward with in-place update.
// Returns 1 trained, 0 skipped by the policy. loss is that of before the update. Where d
// overflows on its way down, the layers from there on stay as they are.
// softmax cross-entropy: -sum t log p, target values >= 0 with a sum of 0.999 to 1.001;
// mean squared error: (1/O) sum (a - t)^2; a class index there means the one-hot vector.
int tp_train_step(tp_model_t *m, const tp_view_t *x, const tp_target_t *y, float *loss,
    tp_fault_t *fault);

// What the passes of one row took. With weights, backward is three of them: bias and selection, d
// of the row's source, update; without weights TP_PASS_DX is all of it. The row behind the last one
// stands for what belongs to none: loading x, then (as TP_PASS_SELECT) loss, decision and d.
enum { TP_PASS_FORWARD = 0, TP_PASS_SELECT, TP_PASS_DX, TP_PASS_UPDATE, TP_PASSES };
typedef struct {
    uint32_t ticks[TP_PASSES];
    uint32_t macs[2]; // multiply-accumulates executed: forward, backward
} tp_profile_t;

// The caller's clock: lap(context) = ticks since its last call.
typedef struct {
    uint32_t (*lap)(void *context);
    void *context;
    tp_profile_t *rows; // n_layers + 1, added to
} tp_trace_t;

// Measure a training step on x, y, with the backward pass whatever the policy says; returns what
// it said, as tp_train_step. Where d and update of a row are formed in one loop, they are two here.
// The first persist_bytes of the block change: the caller puts them back.
int tp_profile(tp_model_t *m, const tp_view_t *x, const tp_target_t *y, const tp_trace_t *trace,
    tp_fault_t *fault);

// Count a stored sample that the back-off left out: it is seen, and it waited.
void tp_count_waited(tp_model_t *m);

// Apply a mini-batch that is not full (end of an epoch); its sum, too, is divided by the batch
// size. Nothing to do at batch 1.
void tp_flush(tp_model_t *m);

// End of an epoch: tp_flush, then Ymax *= ymax_decay.
void tp_epoch_end(tp_model_t *m);

// All counters to 0, `seen` among them: a warm-up starts again.
void tp_reset_counters(tp_model_t *m);

// Multiply-accumulates of one sample under dense full training.
typedef struct {
    uint64_t forward, backward;
} tp_macs_t;
tp_macs_t tp_dense_macs(const tp_model_t *m);
uint64_t tp_backward_macs(const tp_model_t *m); // executed so far

// Back-off: one byte per stored sample, 0 at the start. True: leave the sample out this time.
bool tp_backoff_waits(uint8_t *state);
// Tell how its step ended: trained forgets the wait, skipped doubles it: 1, 2, 4 .. limit.
void tp_backoff_note(uint8_t *state, bool trained, uint8_t limit);

// --- Checkpoints ---
// File = 20 bytes head ("TPM1", u16 version, u16 0, u32 payload bytes, u32 CRC-32 of the
// payload, u32 CRC-32 of bytes 0..15), then the payload = the first persist_bytes of the block.
#define TP_FILE_HEAD 20

void tp_file_head(const tp_model_t *m, uint8_t head[TP_FILE_HEAD]);
// TP_ERR_FORMAT, or TP_OK with the payload size and CRC.
int tp_file_head_check(const uint8_t *head, size_t n, uint32_t *payload, uint32_t *crc);
// Block bytes a payload needs, read from its first sizeof(tp_model_t) bytes; 0 if damaged.
uint32_t tp_file_block_bytes(const void *payload, size_t n);

// --- Parts, for experiments and tests ---

// CRC-32 (IEEE 802.3, as in zip). Start with crc = 0; feed the result back to go on.
uint32_t tp_crc32(uint32_t crc, const void *data, size_t n);

// A bijection of 0..n-1 chosen by key, without a table: shuffled order in O(1) memory. i < n.
uint32_t tp_permute(uint32_t i, uint32_t n, uint32_t key);

// xoshiro128**; the state is seeded so that seed 0 is as good as any.
void tp_rng_seed(uint32_t rng[4], uint32_t seed);
uint32_t tp_rng_next(uint32_t rng[4]);

// Elementary functions, the same bits on every core. Within 2 ulp (tanh, sigmoid: 4) of the
// true value; results below the smallest normal number become 0.
float tp_expf(float x);
float tp_logf(float x);
float tp_sqrtf(float x); // correctly rounded
float tp_tanhf(float x);
float tp_sigmoidf(float x);

bool tp_isfinite(float x);

// Element i of a view of integers.
int32_t tp_view_int(const tp_view_t *v, uint32_t i);

// out[i] = view[i] as float32, integer types scaled. TP_ERR_NONFINITE, TP_ERR_DTYPE.
int tp_convert(float *out, const tp_view_t *view, const float *scale, const float *offset,
    uint32_t n_scale, uint32_t *bad);

void tp_activate(float *a, size_t n, uint8_t activation, float slope);
// d[i] *= f'(z[i]), expressed by a = f(z).
void tp_activate_backward(float *d, const float *a, size_t n, uint8_t activation, float slope);

// Softmax in place. Returns log(sum exp(z - max)), not finite where a z is NaN or +infinity.
// max may be NULL.
float tp_softmax(float *z, size_t n, float *max);

// Keep the k largest |d| (ties: lowest index), set the others to 0. Returns the number of non-zero
// d left. O(n), no scratch.
uint32_t tp_topk(float *d, size_t n, uint32_t k);
uint32_t tp_topk_int(int32_t *d, size_t n, uint32_t k); // |d| < 2^31

#endif
