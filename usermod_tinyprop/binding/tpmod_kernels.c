// The parts of the core one by one, for experiments: functions on buffers of float32.
#include <string.h>

#include "../kernels/tp_kernels_cores.h"
#include "tpmod.h"

// --- Bytes and counting ---

// crc32(data, crc=0)
static mp_obj_t tpmod_crc32(size_t n_args, const mp_obj_t *args) {
    mp_buffer_info_t b;
    uint32_t crc = n_args > 1 ? (uint32_t)mp_obj_get_int_truncated(args[1]) : 0;
    mp_get_buffer_raise(args[0], &b, MP_BUFFER_READ);
    return mp_obj_new_int_from_uint(tp_crc32(crc, b.buf, b.len));
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_crc32_obj, 1, 2, tpmod_crc32);

// permute(i, n, key) -> place of i in a shuffled order of 0..n-1
static mp_obj_t tpmod_permute(mp_obj_t i_in, mp_obj_t n_in, mp_obj_t key_in) {
    int32_t n = tpmod_int_in(n_in, "n", NULL, 1, INT32_MAX);
    int32_t i = tpmod_int_in(i_in, "i", NULL, 0, n - 1);
    uint32_t key = (uint32_t)mp_obj_get_int_truncated(key_in);
    return mp_obj_new_int_from_uint(tp_permute((uint32_t)i, (uint32_t)n, key));
}
MP_DEFINE_CONST_FUN_OBJ_3(tpmod_permute_obj, tpmod_permute);

// Byte i of the back-off state, one byte per stored sample.
static uint8_t *tpmod_backoff_byte(mp_obj_t state_in, mp_obj_t i_in) {
    mp_buffer_info_t b;
    mp_get_buffer_raise(state_in, &b, MP_BUFFER_RW);
    mp_int_t i = mp_obj_get_int(i_in);
    return (uint8_t *)b.buf + tpmod_check_index("sample", i, "the back-off state", b.len);
}

// backoff_note(state, i, trained, limit)
static mp_obj_t tpmod_backoff_note(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    uint8_t limit = (uint8_t)tpmod_int_in(args[3], "backoff", NULL, 0, TP_BACKOFF_MAX);
    tp_backoff_note(tpmod_backoff_byte(args[0], args[1]), mp_obj_is_true(args[2]), limit);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_backoff_note_obj, 4, 4, tpmod_backoff_note);

#if TPMOD_CORES

// cores(n): from now on so many cores share a step. Returns how many do.
static mp_obj_t tpmod_cores(size_t n_args, const mp_obj_t *args) {
    int32_t n = n_args > 0 ? tpmod_int_in(args[0], "cores", NULL, 1, TP_CORES ? 2 : 1) : 0;
#if TP_CORES
    n = (int32_t)tp_core1_set((uint32_t)n);
#else
    n = 1;
#endif
    return MP_OBJ_NEW_SMALL_INT(n);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_cores_obj, 0, 1, tpmod_cores);

#endif

#if TPMOD_SINGLE

// --- Elementary functions, the same bits on every core ---

static mp_obj_t tpmod_exp(mp_obj_t x) {
    return tpmod_new_float(tp_expf(tpmod_float(x)));
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_exp_obj, tpmod_exp);

static mp_obj_t tpmod_log(mp_obj_t x) {
    return tpmod_new_float(tp_logf(tpmod_float(x)));
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_log_obj, tpmod_log);

static mp_obj_t tpmod_sqrt(mp_obj_t x) {
    return tpmod_new_float(tp_sqrtf(tpmod_float(x)));
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_sqrt_obj, tpmod_sqrt);

static mp_obj_t tpmod_tanh(mp_obj_t x) {
    return tpmod_new_float(tp_tanhf(tpmod_float(x)));
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_tanh_obj, tpmod_tanh);

static mp_obj_t tpmod_sigmoid(mp_obj_t x) {
    return tpmod_new_float(tp_sigmoidf(tpmod_float(x)));
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_sigmoid_obj, tpmod_sigmoid);

// --- Vectors ---

static float tpmod_slope(size_t n_args, const mp_obj_t *args, size_t at) {
    return n_args > at ? tpmod_float(args[at]) : 0.01f;
}

// activate(a, name, slope=0.01): in place
static mp_obj_t tpmod_activate(size_t n_args, const mp_obj_t *args) {
    uint8_t activation = tpmod_activation(args[1]);
    float slope = tpmod_slope(n_args, args, 2);
    uint32_t n;
    float *a = tpmod_floats(args[0], "a", MP_BUFFER_RW, &n);
    tp_activate(a, n, activation, slope);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_activate_obj, 2, 3, tpmod_activate);

// activate_backward(d, a, name, slope=0.01): d *= f'(z) in place, by a = f(z)
static mp_obj_t tpmod_activate_backward(size_t n_args, const mp_obj_t *args) {
    uint8_t activation = tpmod_activation(args[2]);
    float slope = tpmod_slope(n_args, args, 3);
    uint32_t n, n_a;
    float *d = tpmod_floats(args[0], "d", MP_BUFFER_RW, &n);
    const float *a = tpmod_floats(args[1], "a", MP_BUFFER_READ, &n_a);
    tpmod_check_count("a", n_a, n);
    tp_activate_backward(d, a, n, activation, slope);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_activate_backward_obj, 3, 4, tpmod_activate_backward);

// softmax(z): in place
static mp_obj_t tpmod_softmax(mp_obj_t z_in) {
    uint32_t n;
    float *z = tpmod_floats(z_in, "z", MP_BUFFER_RW, &n);
    if (n != 0) {
        tp_softmax(z, n, NULL);
    }
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(tpmod_softmax_obj, tpmod_softmax);

// cross_entropy(z, y) -> loss of class y; z becomes the delta, softmax(z) - onehot(y)
static mp_obj_t tpmod_cross_entropy(mp_obj_t z_in, mp_obj_t y_in) {
    uint32_t n;
    tpmod_floats(z_in, "z", MP_BUFFER_RW, &n);
    int32_t y = tpmod_int_in(y_in, "class index", NULL, 0, (int32_t)n - 1);
    float *z = tpmod_floats(z_in, "z", MP_BUFFER_RW, &n);
    float max, chosen = z[y];
    float log_sum = tp_softmax(z, n, &max);
    z[y] -= 1.0f;
    return tpmod_new_float(log_sum - (chosen - max));
}
MP_DEFINE_CONST_FUN_OBJ_2(tpmod_cross_entropy_obj, tpmod_cross_entropy);

// topk(d, k) -> number kept; the others become 0
static mp_obj_t tpmod_topk(mp_obj_t d_in, mp_obj_t k_in) {
    uint32_t n, k = (uint32_t)tpmod_int_in(k_in, "k", NULL, 0, INT32_MAX);
    float *d = tpmod_floats(d_in, "d", MP_BUFFER_RW, &n);
    return mp_obj_new_int_from_uint(tp_topk(d, n, k));
}
MP_DEFINE_CONST_FUN_OBJ_2(tpmod_topk_obj, tpmod_topk);

// --- A dense layer: w (O, I), x (I), out and delta (O) ---

// dense_forward(out, x, w, b=None, activation="linear", slope=0.01); out must not overlap x or w
static mp_obj_t tpmod_dense_forward(size_t n_args, const mp_obj_t *args) {
    uint8_t activation = n_args > 4 ? tpmod_activation(args[4]) : TP_LINEAR;
    float slope = tpmod_slope(n_args, args, 5);
    uint32_t rows, cols, n_w, n_b;
    float *out = tpmod_floats(args[0], "out", MP_BUFFER_RW, &rows);
    const float *x = tpmod_floats(args[1], "x", MP_BUFFER_READ, &cols);
    const float *w = tpmod_floats(args[2], "w", MP_BUFFER_READ, &n_w), *b = out;
    if (n_w != (uint64_t)rows * cols) {
        tpmod_raise_value("w has %u values, out x in = %u x %u", (unsigned)n_w, (unsigned)rows,
            (unsigned)cols);
    }
    if (n_args > 3 && args[3] != mp_const_none) {
        b = tpmod_floats(args[3], "b", MP_BUFFER_READ, &n_b);
        tpmod_check_count("b", n_b, rows);
    } else {
        // No bias: each output is read as its own bias before it is written.
        memset(out, 0, rows * sizeof(float));
    }
    tp_k_matvec_f32(out, w, x, b, rows, cols);
    tp_activate(out, rows, activation, slope);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_dense_forward_obj, 3, 6, tpmod_dense_forward);

// sparse_dense_backward(dx, w, b, x, delta, lr) -> rows updated. dx += delta . w, then
// w[o] -= (lr delta[o]) x in the rows with delta[o] != 0; b -= lr delta. dx and b may be None.
static mp_obj_t tpmod_sparse_dense_backward(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    float lr = tpmod_float(args[5]);
    uint32_t rows, cols, n_w, n;
    const float *x = tpmod_floats(args[3], "x", MP_BUFFER_READ, &cols);
    const float *delta = tpmod_floats(args[4], "delta", MP_BUFFER_READ, &rows);
    float *w = tpmod_floats(args[1], "w", MP_BUFFER_RW, &n_w), *dx = NULL, *b = NULL;
    if (n_w != (uint64_t)rows * cols) {
        tpmod_raise_value("w has %u values, delta x in = %u x %u", (unsigned)n_w, (unsigned)rows,
            (unsigned)cols);
    }
    if (args[0] != mp_const_none) {
        dx = tpmod_floats(args[0], "dx", MP_BUFFER_RW, &n);
        tpmod_check_count("dx", n, cols);
    }
    if (args[2] != mp_const_none) {
        b = tpmod_floats(args[2], "b", MP_BUFFER_RW, &n);
        tpmod_check_count("b", n, rows);
        tp_k_axpy_f32(b, -lr, delta, rows);
    }
    if (dx != NULL) {
        tp_k_rows_dx_f32(dx, w, delta, rows, cols, NULL);
    }
    size_t updated = tp_k_rows_update_f32(w, lr, delta, x, rows, cols, NULL);
    return mp_obj_new_int_from_uint(updated);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(tpmod_sparse_dense_backward_obj, 6, 6,
    tpmod_sparse_dense_backward);

#endif
