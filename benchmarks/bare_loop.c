// The bar to beat: one dense float32 training step of an MLP as plainly as C can say it. No
// library, no checks, sizes fixed at compile time, update fused into the backward pass. SKIP_DEAD
// leaves out hidden rows whose ReLU is off. usage: bare_loop STEPS
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef INPUTS
#define INPUTS 784
#endif
#ifndef HIDDEN
#define HIDDEN 64
#endif
#define CLASSES 10

static float x[INPUTS], w1[HIDDEN][INPUTS], b1[HIDDEN], w2[CLASSES][HIDDEN], b2[CLASSES];
static float h[HIDDEN], p[CLASSES], dh[HIDDEN];
static const float lr = 0.01f;
static const int label = 3;

static float dot(const float *w, const float *v, int n, float sum) {
    for (int i = 0; i < n; i++) {
        sum += w[i] * v[i];
    }
    return sum;
}

static void subtract(float *restrict w, const float *restrict v, int n, float g) {
    for (int i = 0; i < n; i++) {
        w[i] -= g * v[i];
    }
}

static void step(void) {
    for (int o = 0; o < HIDDEN; o++) {
        float z = dot(w1[o], x, INPUTS, b1[o]);
        h[o] = z > 0 ? z : 0;
    }
    float max = -1e30f, sum = 0;
    for (int o = 0; o < CLASSES; o++) {
        p[o] = dot(w2[o], h, HIDDEN, b2[o]);
        max = p[o] > max ? p[o] : max;
    }
    for (int o = 0; o < CLASSES; o++) {
        p[o] = expf(p[o] - max);
        sum += p[o];
    }
    memset(dh, 0, sizeof(dh));
    for (int o = 0; o < CLASSES; o++) {
        float d = p[o] / sum - (o == label);
        subtract(dh, w2[o], HIDDEN, -d);
        subtract(w2[o], h, HIDDEN, lr * d);
        b2[o] -= lr * d;
    }
    for (int o = 0; o < HIDDEN; o++) {
        float g = h[o] > 0 ? lr * dh[o] : 0;
#ifdef SKIP_DEAD
        if (g == 0) {
            continue;
        }
#endif
        subtract(w1[o], x, INPUTS, g);
        b1[o] -= g;
    }
}

static float noise(float range) {
    return ((float)rand() / (float)RAND_MAX * 2 - 1) * range;
}

int main(int argc, char **argv) {
    int steps = argc > 1 ? atoi(argv[1]) : 1;
    for (int i = 0; i < INPUTS; i++) {
        x[i] = (float)(i % 255 + 1) / 256.0f;
    }
    for (int o = 0; o < HIDDEN; o++) {
        for (int i = 0; i < INPUTS; i++) {
            w1[o][i] = noise(0.08f);
        }
    }
    for (int o = 0; o < CLASSES; o++) {
        for (int i = 0; i < HIDDEN; i++) {
            w2[o][i] = noise(0.2f);
        }
    }
    for (int i = 0; i < steps; i++) {
        step();
    }
    printf("%g\n", (double)p[label]);
    return 0;
}
