// The integer kernels of this core against plain loops (kernels_plain.c): `check NAME N` says over how
// many cases, drawn and extreme, they gave the same bytes (`wrong NAME N`: case N did not), and
// `count NAME N` what they cost, the plain ones as `plain_NAME`. scripts/kernel_costs.py runs it.
#include <string.h>

#include "../usermod_tinyprop/kernels/tp_kernels_int.h"

void bench_begin(void);
void bench_end(const char *what);
void bench_print(const char *what, const char *name, uint64_t value);
int main(void);

extern __typeof__(tp_ki_matvec_i8) plain_matvec_i8;
extern __typeof__(tp_ki_matvec_i16) plain_matvec_i16;
extern __typeof__(tp_ki_rows_dx_i8) plain_rows_dx_i8;
extern __typeof__(tp_ki_rows_dx_i16) plain_rows_dx_i16;
extern __typeof__(tp_ki_rows_update_i8) plain_rows_update_i8;
extern __typeof__(tp_ki_rows_update_i16) plain_rows_update_i16;
extern __typeof__(tp_ki_row_update_wide_i8) plain_row_update_wide_i8;
extern __typeof__(tp_ki_row_update_wide_i16) plain_row_update_wide_i16;
extern __typeof__(tp_ki_channels_i8) plain_channels_i8;
extern __typeof__(tp_ki_channels_i16) plain_channels_i16;
extern __typeof__(tp_ki_axpy_i8) plain_axpy_i8;
extern __typeof__(tp_ki_axpy_i16) plain_axpy_i16;
extern __typeof__(tp_ki_index_i8) plain_index_i8;
extern __typeof__(tp_ki_index_i16) plain_index_i16;
extern __typeof__(tp_ki_scale) plain_scale;
extern __typeof__(tp_ki_finish) plain_finish;

#define ROWS 64
#define LONGEST 784
#define ROOM (16 * 1024) // bytes of weights of a case

static uint8_t ours[ROWS * LONGEST * 2 + 64] __attribute__((aligned(8)));
static uint8_t plain[ROOM + 64] __attribute__((aligned(8)));
static int16_t x_memory[LONGEST + 8] __attribute__((aligned(8)));
static uint16_t columns[LONGEST];
static tp_ki_index_t drawn_index = {columns, 0};
static int32_t z_ours[LONGEST + 8], z_plain[LONGEST + 8];
static tp_ki_row_t rows_ours[ROWS], rows_plain[ROWS];
static uint32_t state = 1, failed;

static uint32_t draw(void) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static uint32_t below(uint32_t n) {
    return (uint32_t)((uint64_t)draw() * n >> 32);
}

// -most..most, the ends more often than their share.
static int32_t spread(int32_t most) {
    uint32_t kind = below(8);
    return kind == 0 ? most : kind == 1 ? -most : (int32_t)below(2u * (uint32_t)most + 1u) - most;
}

typedef struct {
    size_t bytes; // of an element
    size_t rows, cols;
    const tp_ki_index_t *columns;
    void *x;
} tp_case_t;

static void set(void *to, size_t bytes, size_t i, int32_t v) {
    if (bytes == 1) {
        ((int8_t *)to)[i] = (int8_t)v;
    } else {
        ((int16_t *)to)[i] = (int16_t)v;
    }
}

// Weights, both copies alike, beginning anywhere; inputs; rows in rising order, some left out.
static tp_case_t drawn(size_t bytes, size_t rows, size_t cols, int32_t most_x, int32_t most_g,
    uint32_t shift_from, uint32_t shift_to) {
    tp_case_t q = {.bytes = bytes, .cols = cols};
    size_t skew = bytes * below(bytes == 1 ? 4 : 2);
    // 0: anything, 1, 2: all at one end, 3: near one end, 4: small
    uint32_t kind = below(8);
    int32_t end = bytes == 1 ? 127 : 32767;
    for (size_t i = 0; i < ROOM + 64; i++) {
        ours[i] = (uint8_t)draw();
    }
    for (size_t i = 0; i < rows * cols && kind > 0 && kind < 5; i++) {
        int32_t near = (int32_t)below(4);
        int32_t v = kind == 1 ? end : kind == 2 ? -end - 1 : kind == 3 ? end - near : near - 2;
        set(ours + skew, bytes, i, kind == 3 && below(2) ? -v - 1 : v);
    }
    memcpy(plain, ours, sizeof(plain));
    q.x = (uint8_t *)x_memory + bytes * below(4);
    uint32_t filled = below(3);
    kind = below(4);
    for (size_t i = 0; i < cols; i++) {
        int32_t v = kind == 0 ? most_x : kind == 1 ? -most_x : spread(most_x);
        set(q.x, bytes, i, filled == 0 && below(4) ? 0 : v);
    }
    drawn_index.total =
        bytes == 1 ? tp_ki_index_i8(columns, q.x, cols) : tp_ki_index_i16(columns, q.x, cols);
    q.columns = below(3) == 0 ? &drawn_index : NULL;
    uint32_t all = below(2);
    for (size_t o = 0; o < rows; o++) {
        if (all || below(3)) {
            uint32_t shift = shift_from + below(shift_to - shift_from + 1u);
            tp_ki_row_t row = {.w = ours + skew + o * cols * bytes,
                .g = spread(below(2)     ? most_g
                        : most_g < 32767 ? most_g
                                         : 32767),
                .noise = draw() & ((1u << shift) - 1u),
                .shift = shift};
            if (below(8) == 0) {
                row.noise = below(2) ? (1u << shift) - 1u : 0;
            }
            rows_ours[q.rows] = row;
            row.w = plain + skew + o * cols * bytes;
            rows_plain[q.rows++] = row;
        }
    }
    for (size_t i = 0; i < LONGEST + 8; i++) {
        z_ours[i] = z_plain[i] = (int32_t)draw() >> 4;
    }
    return q;
}

static uint32_t same(size_t n_z) {
    (void)n_z;
    return memcmp(z_ours, z_plain, sizeof(z_ours)) == 0 && memcmp(ours, plain, ROOM + 64) == 0;
}

static const uint16_t sizes[] = {0, 1, 2, 3, 4, 5, 7, 8, 13, 31, 32, 33, 36, 63, 64, 65, 67, 97,
    127, 128, 129, 144, 251, 255, 256, 257, 263, 383, 509, 512, 513, 784};

enum {
    MATVEC_I8,
    MATVEC_I16,
    UPDATE_I8,
    UPDATE_I16,
    DX_I8,
    DX_I16,
    WIDE_I8,
    WIDE_I16,
    AXPY_I8,
    AXPY_I16,
    CHANNELS_I8,
    CHANNELS_I16,
    INDEX_I8,
    INDEX_I16,
    SCALE_I8,
    SCALE_I16,
    FINISH_I8,
    FINISH_I16,
    KERNELS
};
static const char *const names[] = {"matvec_i8", "matvec_i16", "rows_update_i8", "rows_update_i16",
    "rows_dx_i8", "rows_dx_i16", "row_update_wide_i8", "row_update_wide_i16", "axpy_i8",
    "axpy_i16", "channels_i8", "channels_i16", "index_i8", "index_i16", "scale_i8", "scale_i16",
    "finish_i8", "finish_i16"};

static uint32_t high(uint32_t cols) {
    uint32_t h = 0;
    for (uint32_t v = (cols + 63u) / 64u; v > 1u; v = (v + 1u) / 2u) {
        h++;
    }
    return h;
}

// Pixels or other inputs, with an offset or without.
static uint32_t same_scale(bool wide, size_t cols) {
    uint8_t dtype = "BBbh"[below(4)];
    uint8_t *x = (uint8_t *)x_memory + (dtype == 'h' ? 2u * below(4) : below(8));
    int32_t shift = (int32_t)below(20), zeros = (int32_t)below(5);
    int32_t factor = below(2) ? 1 << below(15) : spread(32767);
    tp_ki_scale_t by = {factor, shift > 0 ? 1 << (shift - 1) : 0, shift, 0};
    by.offset = below(2) ? 0 : spread(1 << 20);
    for (size_t i = 0; i < cols * (dtype == 'h' ? 2u : 1u); i++) {
        x[i] = (int32_t)below(4) < zeros ? 0 : (uint8_t)draw();
    }
    uint8_t *out = (uint8_t *)z_ours + 2u * below(3),
            *to = out - (uint8_t *)z_ours + (uint8_t *)z_plain;
    uint16_t expected[LONGEST], *end = columns, *end_plain = expected;
    bool lists = below(2);
    uint32_t most = tp_ki_scale(out, wide, x, dtype, cols, &by, lists ? &end : NULL),
             most_plain = plain_scale(to, wide, x, dtype, cols, &by, lists ? &end_plain : NULL);
    bool cut = most > (wide ? 32767u : 127u);
    size_t n = (size_t)(end_plain - expected);
    return most == most_plain &&
        (cut || ((size_t)(end - columns) == n && memcmp(columns, expected, 2u * n) == 0));
}

static uint32_t same_finish(size_t bytes, size_t n) {
    int32_t *z = (int32_t *)(void *)ours, *b = z + n;
    uint32_t most = below(1000), most_plain = most;
    bytes = below(4) ? bytes : 4;
    tp_ki_finish_t by = {(int32_t)below(31) - 15, (int32_t)below(38) - 7,
        bytes == 1       ? 127
            : bytes == 2 ? 1023
                         : 1 << 22,
        below(2)};
    for (size_t i = 0; i < n; i++) {
        z[i] = spread(below(64) ? 1 << 28 : 0x7fffffff) >> below(28);
        b[i] = spread(below(64) ? 1 << 28 >> (by.up > 0 ? by.up : 0) : 0x3fffffff) >> below(20);
    }
    memcpy(plain, ours, sizeof(plain));
    size_t done = tp_ki_finish(z_ours, bytes, z, b, n, &by, &most);
    return done == plain_finish(z_plain, bytes, z, b, n, &by, &most_plain) && most == most_plain;
}

static uint32_t one_case(uint32_t kernel, size_t cols) {
    size_t bytes = kernel % 2 == 0 ? 1 : 2;
    size_t most_rows = cols == 0 ? 3 : ROOM / bytes / cols;
    size_t rows = below(most_rows < 13 ? (uint32_t)most_rows + 1u : 13);
    int32_t x = bytes == 1 ? 127 : 1023;
    uint32_t h = high((uint32_t)cols);
    tp_case_t q;
    switch (kernel) {
        case MATVEC_I8:
            q = drawn(1, rows, cols, x, 1, 5, 5);
            tp_ki_matvec_i8(z_ours, (int8_t *)ours, q.x, rows, cols, q.columns);
            plain_matvec_i8(z_plain, (int8_t *)plain, q.x, rows, cols, q.columns);
            break;
        case MATVEC_I16:
            q = drawn(2, rows, cols, x, 1, 5, 5);
            tp_ki_matvec_i16(z_ours, (int16_t *)ours, q.x, rows, cols, h, q.columns);
            plain_matvec_i16(z_plain, (int16_t *)plain, q.x, rows, cols, h, q.columns);
            break;
        case UPDATE_I8:
            q = drawn(1, rows, cols, x, 127, 8, 14);
            tp_ki_rows_update_i8(rows_ours, q.rows, q.x, cols, q.columns);
            plain_rows_update_i8(rows_plain, q.rows, q.x, cols, q.columns);
            break;
        case UPDATE_I16:
            q = drawn(2, rows, cols, x, (1 << 20) - 1, 16, 16);
            tp_ki_rows_update_i16(rows_ours, q.rows, q.x, cols, q.columns);
            plain_rows_update_i16(rows_plain, q.rows, q.x, cols, q.columns);
            break;
        case DX_I8:
            q = drawn(1, rows, cols, x, 32767, 5, 5);
            tp_ki_rows_dx_i8(z_ours, rows_ours, q.rows, cols, q.columns);
            plain_rows_dx_i8(z_plain, rows_plain, q.rows, cols, q.columns);
            break;
        case DX_I16:
            q = drawn(2, rows, cols, x, 32767, 5, 5);
            tp_ki_rows_dx_i16(z_ours, rows_ours, q.rows, cols, q.columns);
            plain_rows_dx_i16(z_plain, rows_plain, q.rows, cols, q.columns);
            break;
        case WIDE_I8:
        case WIDE_I16:
            q = drawn(bytes, rows, cols, x, 32767, 5, 29);
            q.x = x_memory + below(2);
            for (size_t i = 0; i < cols; i++) {
                ((int16_t *)q.x)[i] = (int16_t)spread(32767);
            }
            for (size_t o = 0; o < q.rows; o++) {
                if (kernel == WIDE_I8) {
                    tp_ki_row_update_wide_i8(&rows_ours[o], q.x, cols);
                    plain_row_update_wide_i8(&rows_plain[o], q.x, cols);
                } else {
                    tp_ki_row_update_wide_i16(&rows_ours[o], q.x, cols);
                    plain_row_update_wide_i16(&rows_plain[o], q.x, cols);
                }
            }
            break;
        case AXPY_I8:
            q = drawn(1, 0, cols, x, 32767, 5, 5);
            tp_ki_axpy_i8(z_ours, 32767, q.x, cols);
            plain_axpy_i8(z_plain, 32767, q.x, cols);
            break;
        case INDEX_I8:
        case INDEX_I16:
            q = drawn(bytes, 0, cols, x, 1, 5, 5);
            // What lies behind the end of an index may be anything.
            memset(z_ours, 0, sizeof(z_ours));
            memset(z_plain, 0, sizeof(z_plain));
            memcpy(z_ours, columns, drawn_index.total * sizeof(*columns));
            return drawn_index.total ==
                (kernel == INDEX_I8 ? plain_index_i8((void *)z_plain, q.x, cols)
                                    : plain_index_i16((void *)z_plain, q.x, cols)) &&
                same(cols);
        case SCALE_I8:
        case SCALE_I16:
            drawn(1, 0, 0, 1, 1, 5, 5);
            return same_scale(kernel == SCALE_I16, cols) && same(cols);
        case FINISH_I8:
        case FINISH_I16:
            drawn(1, 0, 0, 1, 1, 5, 5);
            return same_finish(bytes, cols) && same(cols);
        case AXPY_I16:
            q = drawn(2, 0, cols, x, 32767, 5, 5);
            tp_ki_axpy_i16(z_ours, -32767, q.x, cols);
            plain_axpy_i16(z_plain, -32767, q.x, cols);
            break;
        case CHANNELS_I8: // so many taps as the others have rows
            q = drawn(1, rows, cols, x, 1, 5, 5);
            tp_ki_channels_i8(z_ours, (int8_t *)ours, rows, q.x, cols);
            plain_channels_i8(z_plain, (int8_t *)plain, rows, q.x, cols);
            break;
        default:
            q = drawn(2, rows, cols, x, 1, 5, 5);
            tp_ki_channels_i16(z_ours, (int16_t *)ours, rows, q.x, cols);
            plain_channels_i16(z_plain, (int16_t *)plain, rows, q.x, cols);
    }
    return same(cols);
}

static void check(uint32_t kernel, uint32_t repeats) {
    uint32_t cases = 0;
    for (uint32_t r = 0; r < repeats; r++) {
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            cases++;
            if (!one_case(kernel, sizes[s])) {
                bench_print("wrong", names[kernel], cases);
                failed = 1;
                return;
            }
        }
    }
    bench_print("check", names[kernel], cases);
}

// What the hidden layer of 784-64-10 and the output layer of 64-32-10 cost.
static void costs(size_t bytes, size_t n_rows, size_t cols, uint32_t filled,
    const char *const *what) {
    int8_t *w8 = (int8_t *)ours;
    int16_t *w16 = (int16_t *)ours;
    void *x = x_memory;
    state = 7;
    for (size_t i = 0; i < n_rows * cols; i++) {
        set(ours, bytes, i, bytes == 1 ? (int32_t)below(181) - 90 : (int32_t)below(24001) - 12000);
    }
    for (size_t i = 0; i < cols; i++) {
        int32_t v = 1 + (int32_t)below(bytes == 1 ? 127 : 1023);
        set(x, bytes, i, below(100) < filled ? v : 0);
    }
    for (size_t o = 0; o < n_rows; o++) {
        int32_t g = bytes == 1 ? 64 + (int32_t)below(64) : 16384 + (int32_t)below(16384);
        uint32_t shift = bytes == 1 ? 10 + below(3) : 16;
        rows_ours[o] = (tp_ki_row_t){
            ours + o * cols * bytes, below(2) ? g : -g, draw() & ((1u << shift) - 1u), shift};
    }
    tp_ki_index_t every = {columns, 0};
    every.total =
        bytes == 1 ? tp_ki_index_i8(columns, x, cols) : tp_ki_index_i16(columns, x, cols);
    const tp_ki_index_t *index = filled < 100 ? &every : NULL;
    uint32_t h = high((uint32_t)cols);
#define COST(call, name) \
    bench_begin(); \
    call; \
    bench_end(name)
    if (bytes == 1) {
        COST(tp_ki_matvec_i8(z_ours, w8, x, n_rows, cols, index), what[0]);
        COST(plain_matvec_i8(z_ours, w8, x, n_rows, cols, index), what[1]);
        COST(tp_ki_rows_update_i8(rows_ours, n_rows, x, cols, index), what[2]);
        COST(plain_rows_update_i8(rows_ours, n_rows, x, cols, index), what[3]);
        COST(tp_ki_rows_dx_i8(z_ours, rows_ours, n_rows, cols, index), what[4]);
        COST(plain_rows_dx_i8(z_ours, rows_ours, n_rows, cols, index), what[5]);
    } else {
        COST(tp_ki_matvec_i16(z_ours, w16, x, n_rows, cols, h, index), what[0]);
        COST(plain_matvec_i16(z_ours, w16, x, n_rows, cols, h, index), what[1]);
        COST(tp_ki_rows_update_i16(rows_ours, n_rows, x, cols, index), what[2]);
        COST(plain_rows_update_i16(rows_ours, n_rows, x, cols, index), what[3]);
        COST(tp_ki_rows_dx_i16(z_ours, rows_ours, n_rows, cols, index), what[4]);
        COST(plain_rows_dx_i16(z_ours, rows_ours, n_rows, cols, index), what[5]);
    }
}

#define SIX(type, size) \
    (const char *const[]) { \
        "matvec_" type " " size, "plain_matvec_" type " " size, "rows_update_" type " " size, \
            "plain_rows_update_" type " " size, "rows_dx_" type " " size, \
            "plain_rows_dx_" type " " size \
    }

#ifndef REPEATS
#define REPEATS 6
#endif

int main(void) {
    for (uint32_t kernel = 0; kernel < KERNELS; kernel++) {
        check(kernel, REPEATS);
    }
    costs(1, 64, 784, 100, SIX("i8", "64x784"));
    costs(2, 64, 784, 100, SIX("i16", "64x784"));
    costs(1, 64, 784, 19, SIX("i8", "64x784@19%"));
    costs(2, 64, 784, 19, SIX("i16", "64x784@19%"));
    costs(1, 10, 65, 100, SIX("i8", "10x65"));
    costs(2, 10, 65, 100, SIX("i16", "10x65"));
    return (int)failed;
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
    printf("%s %s %08x\n", what, name, (unsigned)value);
}
#endif
