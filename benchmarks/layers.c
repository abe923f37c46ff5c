// Instructions of training steps and of single layers, for an instruction counter: callgrind on
// the host, QEMU's -icount on a board without an operating system (bare_metal.c). Prints a line
// `count WHAT N` for each measurement (on the host callgrind writes it down instead), and
// `crc WHAT X` of the parameters afterwards: the same on every machine.
#include "../usermod_tinyprop/core/tp_internal.h"

// bare_metal.c, or the end of this file.
void bench_begin(void);
void bench_end(const char *what);
void bench_print(const char *what, const char *name, uint64_t value);

static uint8_t block[768 * 1024] __attribute__((aligned(8)));
static float values[16 * 1024];
static uint32_t rng[4];

static float draw(void) {
    return (float)(tp_rng_next(rng) >> 8) * 5.9604645e-8f;
}

static tp_model_t *make(const tp_spec_t *spec) {
    tp_fault_t fault;
    tp_rng_seed(rng, 7);
    return tp_model_init(block, sizeof(block), spec, &fault) == TP_OK
        ? tp_model_get(block, sizeof(block))
        : NULL;
}

static void print_crc(const char *name, const tp_model_t *m) {
    uint32_t first = tp_scale_offset(m);
    bench_print("crc", name, tp_crc32(0, (const uint8_t *)m + first, m->persist_bytes - first));
}

// --- A whole step of a dense network, no input is zero; integers learn from the same values, as bytes
// with a scale ---

static uint8_t bytes[784];

// `forward`: the name its forward pass alone is counted under.
static void dense(const char *name, const char *forward, uint32_t n_in, uint32_t hidden,
    uint8_t policy, uint8_t dtype) {
    const tp_layer_spec_t layers[] = {
        {.kind = TP_LAYER_DENSE,
            .units = hidden,
            .activation = TP_RELU,
            .trainable = TP_TRAIN_ALL},
        {.kind = TP_LAYER_DENSE, .units = 10, .trainable = TP_TRAIN_ALL},
    };
    const float scale = 1.0f / 256.0f, offset = 0.0f;
    const tp_spec_t spec = {.h = 1,
        .w = 1,
        .c = n_in,
        .n_layers = 2,
        .layers = layers,
        .zero_skip = 75,
        .batch = 1,
        .seed = 1,
        .opt = {.kind = TP_SGD, .lr = 0.01f},
        .policy = {.kind = policy, .ratio = 0.1f},
        .dtype = dtype,
        .n_scale = dtype == TP_F32 ? 0 : 1,
        .scale = &scale,
        .offset = &offset};
    tp_model_t *m = make(&spec);
    const tp_view_t floats = {values, n_in, TP_F32}, ints = {bytes, n_in, TP_U8};
    const tp_view_t x = dtype == TP_F32 ? floats : ints;
    const tp_target_t y = {.index = 3};
    float loss;
    for (uint32_t i = 0; i < n_in; i++) {
        values[i] = (float)(i % 255u + 1u) / 256.0f;
        bytes[i] = (uint8_t)(i % 255u + 1u);
    }
    for (uint32_t step = 0; step < 2; step++) { // the first one warms up
        bench_begin();
        tp_train_step(m, &x, &y, &loss, NULL);
        bench_end(step > 0 ? name : NULL);
    }
    print_crc(name, m);
    if (forward != NULL) {
        bench_begin();
        tp_predict(m, &x, NULL, NULL);
        bench_end(forward);
    }
}

// --- One layer with weights: between a row that wants its d and a dense one ---

typedef struct {
    const char *name;
    uint16_t h, c; // of its square input
    uint8_t kind, kernel, same;
    uint16_t units;
    uint8_t relu; // behind a ReLU: half of its inputs are zero
} tp_case_t;

static const tp_case_t cases[] = {
    {"conv3x3-16-16@16", 16, 16, TP_LAYER_CONV, 3, 1, 16, 0},
    {"conv3x3-32-32@8", 8, 32, TP_LAYER_CONV, 3, 1, 32, 0},
    {"conv3x3-32-32@8-relu", 8, 32, TP_LAYER_CONV, 3, 1, 32, 1},
    {"conv1x1-64-64@8", 8, 64, TP_LAYER_CONV, 1, 0, 64, 0},
    {"depthwise3x3-32@16", 16, 32, TP_LAYER_DEPTHWISE, 3, 1, 1, 0},
    {"scale-32@16", 16, 32, TP_LAYER_DEPTHWISE, 1, 0, 1, 0},
    {"dense-256-64", 1, 256, TP_LAYER_DENSE, 0, 0, 64, 0},
    // Nothing is a multiple of a block; only the results matter.
    {"conv5x5-3-7@9", 9, 3, TP_LAYER_CONV, 5, 1, 7, 0},
    {"conv3x3-5-11@7-relu", 7, 5, TP_LAYER_CONV, 3, 0, 11, 1},
    {"depthwise3x3-7x2@5-relu", 5, 7, TP_LAYER_DEPTHWISE, 3, 1, 2, 1},
};

static const char *joined(const char *name, const char *pass) {
    static char text[64];
    size_t n = strlen(name);
    memcpy(text, name, n);
    text[n] = ' ';
    memcpy(text + n + 1u, pass, strlen(pass) + 1u);
    return text;
}

// d of row 1: none is zero, small ones are more frequent than large ones.
static void fill_d(tp_model_t *m) {
    float *d = tp_layer_delta(m, 1);
    for (uint32_t i = 0; i < tp_row_size(tp_model_layer(m, 1)); i++) {
        d[i] = ((draw() + draw()) + (draw() - 1.5f)) * 0.01f + 1e-9f;
    }
}

static void backward(tp_model_t *m, const char *what, const tp_policy_t *policy, uint8_t select) {
    const tp_view_t x = {values, tp_model_inputs(m), TP_F32};
    uint64_t macs;
    tp_set_policy(m, policy, NULL);
    tp_layer_t *t = tp_model_layer(m, 1);
    t->select = select;
    tp_predict(m, &x, NULL, NULL);
    if (what != NULL && policy->kind == TP_FULL) {
        bench_begin();
        tp_layer_forward(m, 1, &macs);
        bench_end(joined(what, "forward"));
    }
    fill_d(m);
    bench_begin();
    float sum = tp_k_sum_abs_f32(tp_layer_delta(m, 1), tp_row_size(t));
    tp_layer_backward(m, 1, sum, 0.0f, NULL);
    const char *pass = policy->kind == TP_FULL ? "full"
        : select == TP_SELECT_CHANNELS         ? "channels"
                                               : "TopK";
    bench_end(what != NULL ? joined(what, pass) : NULL);
}

static void layer(const tp_case_t *q) {
    const tp_layer_spec_t layers[] = {
        {.kind = TP_LAYER_CONV,
            .kernel_h = 1,
            .kernel_w = 1,
            .units = q->c,
            .activation = q->relu ? TP_RELU : TP_LINEAR,
            .trainable = TP_TRAIN_BIAS},
        {.kind = q->kind,
            .kernel_h = q->kernel,
            .kernel_w = q->kernel,
            .same = q->same,
            .units = q->units,
            .activation = TP_RELU,
            .trainable = TP_TRAIN_ALL},
        {.kind = TP_LAYER_DENSE, .units = 10, .trainable = TP_TRAIN_ALL},
    };
    const tp_spec_t spec = {.h = q->h,
        .w = q->h,
        .c = q->c,
        .n_layers = 3,
        .layers = layers,
        .zero_skip = 75,
        .batch = 1,
        .seed = 1,
        .opt = {.kind = TP_SGD, .lr = 0.01f}};
    const tp_policy_t full = {.kind = TP_FULL}, topk = {.kind = TP_TOPK, .ratio = 0.1f};
    tp_model_t *m = make(&spec);
    for (uint32_t i = 0; i < tp_model_inputs(m); i++) {
        values[i] = draw() + 0.01f;
    }
    backward(m, NULL, &full, TP_SELECT_ELEMENTS);
    backward(m, q->name, &full, TP_SELECT_ELEMENTS);
    backward(m, q->name, &topk, TP_SELECT_ELEMENTS);
    if (q->kind != TP_LAYER_DENSE) {
        backward(m, q->name, &topk, TP_SELECT_CHANNELS);
    }
    print_crc(q->name, m);
}

int main(void) {
    dense("mlp-784-64-10 Full", "mlp-784-64-10 forward", 784, 64, TP_FULL, TP_F32);
    dense("mlp-784-64-10 TopK", NULL, 784, 64, TP_TOPK, TP_F32);
    dense("mlp-64-32-10 Full", "mlp-64-32-10 forward", 64, 32, TP_FULL, TP_F32);
    dense("mlp-64-32-10 TopK", NULL, 64, 32, TP_TOPK, TP_F32);
    dense("mlp-784-64-10-i16 Full", "mlp-784-64-10-i16 forward", 784, 64, TP_FULL, TP_I16);
    dense("mlp-784-64-10-i16 TopK", NULL, 784, 64, TP_TOPK, TP_I16);
    dense("mlp-784-64-10-i8 Full", "mlp-784-64-10-i8 forward", 784, 64, TP_FULL, TP_I8);
    dense("mlp-784-64-10-i8 TopK", NULL, 784, 64, TP_TOPK, TP_I8);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        layer(&cases[i]);
    }
    return 0;
}

#ifdef __x86_64__
#include <stdio.h>
#include <valgrind/callgrind.h>

void bench_begin(void) {
    CALLGRIND_ZERO_STATS;
}

void bench_end(const char *what) {
    if (what != NULL) {
        CALLGRIND_DUMP_STATS_AT(what);
    }
}

void bench_print(const char *what, const char *name, uint64_t value) {
    printf("%s %s %08x\n", what, name, (unsigned)value);
}
#endif
