// The core and the kernels without MicroPython: the same text from every compiler and core.
#include <string.h>

#include "../usermod_tinyprop/core/tp.h"
#include "../usermod_tinyprop/kernels/tp_kernels.h"

#ifdef __xtensa__
#include "../ports/xtensa/sim.h"
#define write_out sim_write
#else
#include <stdio.h>
static void write_out(const char *text, size_t n) {
    fwrite(text, 1, n, stdout);
}
#endif

#define INPUTS 64
#define CLASSES 10
#define STEPS 200
#define LONGEST 133

static void line(const char *name, uint32_t n, uint32_t crc) {
    uint32_t values[2] = {n, crc};
    char text[] = "     ........ ........\n";
    for (int v = 0; v < 2; v++) {
        for (int i = 0; i < 8; i++) {
            text[12 + 9 * v - i] = "0123456789abcdef"[values[v] >> 4 * i & 15];
        }
    }
    size_t length = strlen(name);
    memcpy(text, name, length < 4 ? length : 4);
    write_out(text, sizeof(text) - 1);
}

static uint32_t rng[4];

static float any_float(void) {
    return (float)(int32_t)(tp_rng_next(rng) >> 8) * 0x1p-23f - 1.0f;
}

// All kernels on one size; a third of x is zero.
static uint32_t kernels(uint32_t n) {
    static float w[3 * LONGEST], x[LONGEST], y[LONGEST], z[LONGEST], m[LONGEST], v[LONGEST];
    static uint16_t columns[LONGEST];
    for (uint32_t i = 0; i < 3 * n; i++) {
        w[i] = any_float();
    }
    for (uint32_t i = 0; i < n; i++) {
        x[i] = tp_rng_next(rng) % 3 == 0 ? 0.0f : any_float();
        y[i] = any_float();
        z[i] = any_float();
        m[i] = any_float();
        v[i] = any_float() * any_float();
        v[i] = v[i] * v[i];
    }
    tp_k_index_t index;
    tp_k_index_f32(&index, columns, x, n);
    float sums[9] = {tp_k_sum_f32(x, n), tp_k_sum_abs_f32(x, n), tp_k_sum_squares_f32(x, n)};
    tp_k_matvec_f32(sums + 3, w, x, y, n < 3 ? n : 3, n);
    tp_k_matvec_index_f32(sums + 6, w, x, y, n < 3 ? n : 3, n, &index);
    tp_k_axpy_f32(y, 0.3f, x, n);
    tp_k_axpy_index_f32(y, -0.7f, x, &index);
    tp_k_decay_axpy_f32(z, 0.9f, 0.1f, y, n);
    const float d[3] = {0.5f, 0.0f, -0.25f};
    tp_k_rows_dx_f32(z, w, d, 3, n, NULL);
    tp_k_rows_dx_f32(z, w, d, 3, n, &index);
    tp_k_rows_update_f32(w, 0.3f, d, x, 3, n, NULL);
    tp_k_rows_update_f32(w, -0.1f, d, x, 3, n, &index);
    tp_k_momentum_f32(w, y, 0.2f, x, 0.05f, 0.9f, 0.01f, n);
    tp_k_adam_t adam = {0.01f, 0.9f, 0.999f, 1e-7f, 0.0f};
    tp_k_adam_f32(z, m, v, 0.4f, x, &adam, n);
    uint32_t crc = tp_crc32(0, sums, sizeof(sums));
    crc = tp_crc32(crc, w, 3 * n * sizeof(float));
    crc = tp_crc32(crc, y, n * sizeof(float));
    crc = tp_crc32(crc, z, n * sizeof(float));
    crc = tp_crc32(crc, m, n * sizeof(float));
    crc = tp_crc32(crc, v, n * sizeof(float));
    return tp_crc32(crc, columns, index.total * sizeof(uint16_t));
}

static uint32_t functions(void) {
    uint32_t crc = 0;
    for (int32_t i = -4000; i <= 4000; i++) {
        float x = (float)i / 37.0f, a = x < 0.0f ? -x : x;
        float y[5] = {tp_expf(x), tp_tanhf(x), tp_sigmoidf(x), tp_logf(a + 0.001f), tp_sqrtf(a)};
        crc = tp_crc32(crc, y, sizeof(y));
    }
    return crc;
}

#define WEIGHTS .init = TP_INIT_AUTO, .trainable = TP_TRAIN_ALL
#define WINDOW(n) .kernel_h = n, .kernel_w = n
static const tp_layer_spec_t dense[] = {
    {.kind = TP_LAYER_DENSE, .activation = TP_RELU, .units = 32, WEIGHTS},
    {.kind = TP_LAYER_DENSE, .units = CLASSES, WEIGHTS},
};
static const tp_layer_spec_t maps[] = {
    {.kind = TP_LAYER_CONV, .activation = TP_RELU, .units = 4, WINDOW(3), .same = 1, WEIGHTS},
    {.kind = TP_LAYER_DEPTHWISE, .units = 1, WINDOW(3), .same = 1, WEIGHTS},
    {.kind = TP_LAYER_ADD, .activation = TP_RELU, .other = 1},
    {.kind = TP_LAYER_MAX_POOL, WINDOW(2), .stride_h = 2, .stride_w = 2},
    {.kind = TP_LAYER_CONV,
        .activation = TP_RELU,
        .units = 8,
        WINDOW(3),
        .stride_h = 2,
        .stride_w = 2,
        .select = TP_SELECT_CHANNELS,
        WEIGHTS},
    {.kind = TP_LAYER_DENSE, .units = CLASSES, WEIGHTS},
};

// Trains as on_target/crc_of_training.py does, with inputs half of which are zero.
static uint32_t train(uint32_t n_layers, const tp_layer_spec_t *layers, uint8_t policy,
    uint8_t optimizer, float lr, float momentum) {
    static uint64_t block[4096];
    tp_spec_t spec = {.h = 1, .w = 1, .c = INPUTS, .n_layers = n_layers, .layers = layers};
    if (layers == maps) {
        spec.h = spec.w = 8;
        spec.c = 1;
    }
    spec.batch = 1;
    spec.seed = 1;
    spec.zero_skip = 75;
    spec.loss = TP_SOFTMAX_CROSS_ENTROPY;
    spec.opt = (tp_opt_t){.kind = optimizer, .lr = lr, .momentum = momentum};
    spec.opt.beta1 = 0.9f;
    spec.opt.beta2 = 0.999f;
    spec.opt.eps = 1e-7f;
    spec.policy = (tp_policy_t){.kind = policy, .s_min = 0.2f, .s_max = 1.0f, .zeta = 0.9f};
    spec.policy.d_max = 1.0f;
    spec.policy.threshold = 0.5f;
    spec.policy.ymax_decay = 1.0f;
    spec.policy.k = 4;
    if (tp_model_init(block, sizeof(block), &spec, NULL) != TP_OK) {
        return 0;
    }
    tp_model_t *model = tp_model_get(block, sizeof(block));
    float x[INPUTS], loss;
    tp_view_t view = {x, INPUTS, TP_F32};
    for (uint32_t step = 0; step < STEPS; step++) {
        tp_target_t y = {.index = (int32_t)(tp_permute(step, STEPS, 7) % CLASSES)};
        for (uint32_t i = 0; i < INPUTS; i++) {
            int32_t q = (int32_t)(tp_permute((i * 41 + step * 17) % 997, 997, step) % 33) - 16;
            x[i] = q < 0 ? 0.0f : (float)q / 32.0f;
        }
        for (int32_t i = y.index * 6; i < y.index * 6 + 6; i++) {
            x[i] = 1.0f - x[i] / 2.0f;
        }
        if (tp_train_step(model, &view, &y, &loss, NULL) < 0) {
            return 0;
        }
    }
    uint32_t crc = 0;
    for (uint32_t l = 0; l < n_layers; l++) {
        uint32_t filters = tp_model_layer(model, l)->c, n = filters * tp_layer_fan_in(model, l);
        if (n > 0) {
            crc = tp_crc32(crc, tp_layer_weights(model, l), n * sizeof(float));
            crc = tp_crc32(crc, tp_layer_bias(model, l), filters * sizeof(float));
        }
    }
    return crc;
}

int main(int argc, char **argv) {
    (void)argc;
    (void)argv;
    tp_rng_seed(rng, 3);
    for (uint32_t n = 0; n <= LONGEST; n++) {
        line("kern", n, kernels(n));
    }
    line("math", 0, functions());
    for (uint8_t policy = TP_FULL; policy <= TP_TINYPROPV2; policy++) {
        line("sgd", policy, train(2, dense, policy, TP_SGD, 0.05f, 0.0f));
        line("maps", policy, train(6, maps, policy, TP_SGD, 0.05f, 0.0f));
    }
    line("mom", 0, train(2, dense, TP_TINYPROPV2, TP_SGD, 0.02f, 0.9f));
    line("mom", 1, train(6, maps, TP_TINYPROPV2, TP_SGD, 0.02f, 0.9f));
    line("adam", 0, train(2, dense, TP_FULL, TP_ADAM, 0.002f, 0.0f));
    line("adam", 1, train(6, maps, TP_FULL, TP_ADAM, 0.002f, 0.0f));
    return 0;
}
