// Instructions of training steps of whole networks, as scripts/network_steps.py writes them down in the
// file `cases`: for each a head, a checkpoint (tp.h, "Checkpoints") and samples. Prints `count NAME N`
// of all its steps (on the host callgrind writes it down instead) and `crc NAME X` of the model after
// them: the same on every machine. For bare_metal.c, or the host.
#include <string.h>

#include "../usermod_tinyprop/core/tp.h"

// bare_metal.c, or the end of this file.
void bench_begin(void);
void bench_end(const char *what);
void bench_print(const char *what, const char *name, uint64_t value);
size_t bench_read(void *to, size_t n);
int main(void);

typedef struct {
    char name[56];
    uint32_t steps, inputs; // a sample: so many uint8, the class
} tp_head_t;

static uint8_t block[800 * 1024] __attribute__((aligned(8)));
static uint8_t samples[48 * 1024];

// The model of a checkpoint; NULL where it is none, or does not fit.
static tp_model_t *load(void) {
    uint8_t head[TP_FILE_HEAD];
    uint32_t payload, crc;
    if (bench_read(head, sizeof(head)) != sizeof(head) ||
        tp_file_head_check(head, sizeof(head), &payload, &crc) != TP_OK ||
        payload > sizeof(block) || bench_read(block, payload) != payload ||
        tp_crc32(0, block, payload) != crc) {
        return NULL;
    }
    uint32_t bytes = tp_file_block_bytes(block, payload);
    if (bytes == 0 || bytes > sizeof(block) || tp_model_check(block, bytes) != TP_OK) {
        return NULL;
    }
    return tp_model_get(block, bytes);
}

int main(void) {
    tp_head_t head;
    while (bench_read(&head, sizeof(head)) == sizeof(head)) {
        tp_model_t *m = load();
        size_t each = head.inputs + 1u, all = head.steps * each;
        if (m == NULL || all > sizeof(samples) || bench_read(samples, all) != all) {
            bench_print("unfit", head.name, all);
            return 1;
        }
        int done = 0;
        bench_begin();
        for (uint32_t i = 0; i < head.steps; i++) {
            const uint8_t *sample = samples + i * each;
            const tp_view_t x = {sample, head.inputs, TP_U8};
            const tp_target_t y = {.index = sample[head.inputs]};
            float loss;
            done |= tp_train_step(m, &x, &y, &loss, NULL);
        }
        bench_end(head.name);
        if (done < 0) {
            bench_print("refused", head.name, (uint32_t)-done);
            return 1;
        }
        bench_print("crc", head.name, tp_crc32(0, block, m->persist_bytes));
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
    CALLGRIND_DUMP_STATS_AT(what);
}

void bench_print(const char *what, const char *name, uint64_t value) {
    printf("%s %s %08llx\n", what, name, (unsigned long long)value);
}

size_t bench_read(void *to, size_t n) {
    static FILE *file;
    if (file == NULL) {
        file = fopen("cases", "rb");
    }
    return file != NULL ? fread(to, 1, n, file) : 0;
}
#endif
