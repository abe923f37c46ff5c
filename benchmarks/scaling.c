// How the instructions of a training step grow with its multiply-accumulates: dense networks of
// several widths and depths, of which a policy keeps several shares of the rows. Prints a line
// `count WHAT N` and lines `macs WHAT N` (forward) and `back WHAT N` (backward, executed), WHAT
// being inputs-widthxdepth-10 and the share in percent; and for one network `split WHAT L P N`, what
// pass P of row L took. For bare_metal.c.
#include <string.h>

#include "../usermod_tinyprop/core/tp.h"

// bare_metal.c
void bench_begin(void);
void bench_end(const char *what);
uint32_t bench_lap(void *last);
void bench_print(const char *what, const char *name, uint64_t value);

static uint8_t block[1024 * 1024] __attribute__((aligned(8)));
static float values[784];

static const uint16_t inputs[] = {64, 784}, widths[] = {16, 32, 64, 128}, depths[] = {1, 2, 4};
static const uint8_t shares[] = {100, 50, 25, 10, 5};

static char *number(char *text, uint32_t n) {
    if (n > 9) {
        text = number(text, n / 10u);
    }
    *text = (char)('0' + n % 10u);
    return text + 1;
}

static void split(tp_model_t *m, const tp_view_t *x, const tp_target_t *y, const char *what) {
    tp_profile_t rows[TP_MAX_LAYERS + 1];
    uint32_t last = 0;
    const tp_trace_t trace = {bench_lap, &last, rows};
    memset(rows, 0, sizeof(rows));
    bench_begin();
    tp_profile(m, x, y, &trace, NULL);
    bench_end(NULL);
    for (uint32_t l = 0; l <= m->n_layers; l++) {
        for (uint32_t pass = 0; pass < TP_PASSES; pass++) {
            char text[60], *end = text + strlen(what);
            memcpy(text, what, strlen(what));
            *end++ = ' ';
            end = number(end, l);
            *end++ = ' ';
            *number(end, pass) = '\0';
            bench_print("split", text, rows[l].ticks[pass]);
        }
    }
}

static void measure(uint32_t n_in, uint32_t width, uint32_t depth) {
    tp_layer_spec_t layers[5] = {{0}};
    for (uint32_t l = 0; l < depth; l++) {
        layers[l] = (tp_layer_spec_t){.kind = TP_LAYER_DENSE,
            .units = width,
            .activation = TP_LEAKY_RELU,
            .slope = 0.1f,
            .trainable = TP_TRAIN_ALL};
    }
    layers[depth] =
        (tp_layer_spec_t){.kind = TP_LAYER_DENSE, .units = 10, .trainable = TP_TRAIN_ALL};
    const tp_spec_t spec = {.h = 1,
        .w = 1,
        .c = n_in,
        .n_layers = depth + 1u,
        .layers = layers,
        .zero_skip = 75,
        .batch = 1,
        .seed = 1,
        .opt = {.kind = TP_SGD, .lr = 0.001f}};
    tp_fault_t fault;
    if (tp_model_init(block, sizeof(block), &spec, &fault) != TP_OK) {
        return;
    }
    tp_model_t *m = tp_model_get(block, sizeof(block));
    const tp_view_t x = {values, n_in, TP_F32};
    const tp_target_t y = {.index = 3};
    for (size_t i = 0; i < sizeof(shares); i++) {
        char what[40], *end = number(what, n_in);
        *end++ = '-';
        end = number(end, width);
        *end++ = 'x';
        end = number(end, depth);
        memcpy(end, "-10 ", 4);
        *number(end + 4, shares[i]) = '\0';
        const tp_policy_t policy = {
            .kind = shares[i] == 100 ? TP_FULL : TP_TOPK, .ratio = (float)shares[i] / 100.0f};
        float loss;
        tp_set_policy(m, &policy, NULL);
        tp_reset_counters(m);
        bench_begin();
        tp_train_step(m, &x, &y, &loss, NULL);
        bench_end(what);
        bench_print("macs", what, (uint32_t)m->forward_macs);
        bench_print("back", what, (uint32_t)tp_backward_macs(m));
        if (n_in == 784 && width == 64 && depth == 1) {
            split(m, &x, &y, what);
        }
    }
}

int main(void) {
    for (uint32_t i = 0; i < 784; i++) {
        values[i] = (float)(i % 255u + 1u) / 256.0f;
    }
    for (size_t i = 0; i < 2; i++) {
        for (size_t w = 0; w < 4; w++) {
            for (size_t d = 0; d < 3; d++) {
                measure(inputs[i], widths[w], depths[d]);
            }
        }
    }
    return 0;
}
