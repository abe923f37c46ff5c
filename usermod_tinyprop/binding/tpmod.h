// Shared by the files of the binding, the extension module `_tinyprop`. Each function here
// parses, checks, calls the core and raises; it keeps no state outside its objects. One source
// serves the firmware module and the native .mpy: what the latter lacks sits behind the helpers
// below.
#ifndef TPMOD_H
#define TPMOD_H

#include <stdarg.h>

#include "py/mpconfig.h"
#if MICROPY_ENABLE_DYNRUNTIME
#include "py/dynruntime.h"
#define mp_type_MemoryError (*(mp_obj_type_t *)(mp_load_global(MP_QSTR_MemoryError)))
#define mp_type_fun_builtin_0 (*(mp_obj_type_t *)(mp_fun_table.type_fun_builtin_0))
#else
#include "py/binary.h"
#include "py/mpprint.h"
#include "py/runtime.h"
#endif

#include "../core/tp.h"

// 0 leaves out the functions for single kernels, which the package tinyprop does not use.
#ifndef TPMOD_SINGLE
#define TPMOD_SINGLE 1
#endif
// 0 leaves out profile().
#ifndef TPMOD_PROFILE
#define TPMOD_PROFILE 1
#endif
// 0 leaves out cores(), which is 1 nearly everywhere.
#ifndef TPMOD_CORES
#define TPMOD_CORES 1
#endif

#define TPMOD_NORETURN __attribute__((noreturn))

// The unix port raises KeyboardInterrupt out of its signal handler, which jumps out of whatever
// runs. Between these two a Ctrl-C waits, so that no step ends half done; nothing may be raised.
#if MICROPY_ASYNC_KBD_INTR && !MICROPY_ENABLE_DYNRUNTIME && !defined(_WIN32)
#include <signal.h>
typedef sigset_t tpmod_hold_t;
static inline void tpmod_hold(tpmod_hold_t *before) {
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_BLOCK, &interrupt, before);
}
static inline void tpmod_release(const tpmod_hold_t *before) {
    pthread_sigmask(SIG_SETMASK, before, NULL);
}
#else
typedef uint8_t tpmod_hold_t;
static inline void tpmod_hold(tpmod_hold_t *before) {
    *before = 0;
}
static inline void tpmod_release(const tpmod_hold_t *before) {
    (void)before;
}
#endif

// --- Types ---
// A native module fills its type objects when it is loaded, a firmware has them in flash. The
// lists TPMOD_*_METHODS name each method once for both; `fixed` takes 0 to 3 arguments.

#if MICROPY_ENABLE_DYNRUNTIME
typedef mp_obj_full_type_t tpmod_type_t;
void tpmod_tensor_init(void);
void tpmod_model_init(void);
// Fill the types and the module's globals: all that mpy_init has to do.
void tpmod_native_init(void);
#else
typedef const mp_obj_type_t tpmod_type_t;
#endif
extern tpmod_type_t tpmod_tensor_type, tpmod_model_type, tpmod_session_type;

#define TPMOD_IS(o, type) (mp_obj_get_type(o) == (const mp_obj_type_t *)&(type))
#define TPMOD_ROM_ROW(kind, name, object) {MP_ROM_QSTR(name), MP_ROM_PTR(&object)},
#define TPMOD_NATIVE_ROW(kind, name, object) \
    *row++ = (mp_map_elem_t){MP_OBJ_NEW_QSTR(name), MP_OBJ_FROM_PTR(&object)};
#define TPMOD_ONE(kind, name, object) +1
#define TPMOD_DECLARE(kind, name, object) extern const mp_obj_fun_builtin_##kind##_t object;

bool tpmod_is_float(mp_const_obj_t o);
bool tpmod_is_slice(mp_const_obj_t o);
bool tpmod_is_int(mp_const_obj_t o); // int or bool

// List or tuple. Inline: each training step asks it twice.
static inline bool tpmod_is_list(mp_const_obj_t o) {
    if (!mp_obj_is_obj(o)) {
        return false;
    }
    const mp_obj_type_t *type = ((const mp_obj_base_t *)MP_OBJ_TO_PTR(o))->type;
    return type == &mp_type_list || type == &mp_type_tuple;
}

// --- Exceptions ---

// Text built on the C stack; what does not fit is cut off.
#define TPMOD_TEXT_MAX 160
typedef struct {
    mp_print_t print;
    size_t length;
    char text[TPMOD_TEXT_MAX];
} tpmod_text_t;

void tpmod_text_init(tpmod_text_t *t);
// A number as short as its value allows: 3, 0.05, 1e-07, nan.
void tpmod_text_number(tpmod_text_t *t, float v);
TPMOD_NORETURN void tpmod_text_raise(tpmod_text_t *t, const mp_obj_type_t *type);

TPMOD_NORETURN void tpmod_raise(const mp_obj_type_t *type, const char *format, ...);
// Most are a ValueError.
TPMOD_NORETURN void tpmod_raise_value(const char *format, ...);

// The one place where an error of the core becomes an exception. `label` names the layer that a
// message is about, NULL where it is about none.
TPMOD_NORETURN void tpmod_raise_fault(int err, const tp_fault_t *fault, const char *label);
// The same where err is an error.
void tpmod_check(int err, const tp_fault_t *fault);

// --- Arguments ---

// An integer in lo..hi; `what` (and the layer `label`, if any) names it in the ValueError.
int32_t tpmod_int_in(mp_obj_t o, const char *what, const char *label, int32_t lo, int32_t hi);
float tpmod_float(mp_obj_t o);
void tpmod_check_count(const char *what, uint32_t got, uint32_t expected);
// IndexError if not 0 <= i < n, n what `where` has.
uint32_t tpmod_check_index(const char *what, mp_int_t i, const char *where, size_t n);
// The n items of a tuple or list.
mp_obj_t *tpmod_items(mp_obj_t o, size_t n, const char *what);
mp_obj_t tpmod_new_float(float v);
mp_obj_t tpmod_new_uint64(uint64_t v);
// Bytes from the heap, NULL where it is locked or full.
void *tpmod_malloc_maybe(size_t bytes);

// --- Elements of any object with the buffer protocol ---

uint32_t tpmod_dtype_bytes(uint8_t dtype);
const char *tpmod_dtype_name(uint8_t dtype);
// The dtype of a buffer's typecode, 0 if it has none.
uint8_t tpmod_dtype_of(int typecode);
uint8_t tpmod_parse_dtype(mp_obj_t name);

// A list or tuple of numbers as an array('f'), everything else as it is.
mp_obj_t tpmod_as_buffer(mp_obj_t o);
// Look at the elements of o for this call; `what` names it in errors.
void tpmod_view(mp_obj_t o, const char *what, tp_view_t *view);
// The same where only float32 will do. flags: MP_BUFFER_READ or MP_BUFFER_RW.
float *tpmod_floats(mp_obj_t o, const char *what, mp_uint_t flags, uint32_t *count);

// A Tensor over bytes of owner; dtype and dims are right and inside the buffer.
mp_obj_t tpmod_tensor_new(mp_obj_t owner, uint32_t offset, uint8_t dtype, uint32_t ndim,
    const uint32_t *dims);
// A Tensor over zeros of its own.
mp_obj_t tpmod_tensor_zeros(uint8_t dtype, uint32_t ndim, const uint32_t *dims);

// The activations by the names that a user types; raises for any other.
uint8_t tpmod_activation(mp_obj_t name);

// tpmod_model.c
tp_model_t *tpmod_model_get(mp_obj_t self_in);

// --- Functions of the module, defined in tpmod_kernels.c and tpmod_model.c, and methods ---

#define TPMOD_FUNCTIONS(X) \
    X(fixed, MP_QSTR_plan, tpmod_plan_obj) \
    X(fixed, MP_QSTR_file_head, tpmod_file_head_obj) \
    X(fixed, MP_QSTR_file_check, tpmod_file_check_obj) \
    X(var, MP_QSTR_crc32, tpmod_crc32_obj) \
    X(fixed, MP_QSTR_permute, tpmod_permute_obj) \
    X(var, MP_QSTR_backoff_note, tpmod_backoff_note_obj) \
    TPMOD_CORES_FUNCTION(X) \
    TPMOD_SINGLE_FUNCTIONS(X)

#if TPMOD_CORES
#define TPMOD_CORES_FUNCTION(X) X(var, MP_QSTR_cores, tpmod_cores_obj)
#else
#define TPMOD_CORES_FUNCTION(X)
#endif

#if TPMOD_SINGLE
#define TPMOD_SINGLE_FUNCTIONS(X) \
    X(fixed, MP_QSTR_exp, tpmod_exp_obj) \
    X(fixed, MP_QSTR_log, tpmod_log_obj) \
    X(fixed, MP_QSTR_sqrt, tpmod_sqrt_obj) \
    X(fixed, MP_QSTR_tanh, tpmod_tanh_obj) \
    X(fixed, MP_QSTR_sigmoid, tpmod_sigmoid_obj) \
    X(var, MP_QSTR_activate, tpmod_activate_obj) \
    X(var, MP_QSTR_activate_backward, tpmod_activate_backward_obj) \
    X(fixed, MP_QSTR_softmax, tpmod_softmax_obj) \
    X(fixed, MP_QSTR_cross_entropy, tpmod_cross_entropy_obj) \
    X(fixed, MP_QSTR_topk, tpmod_topk_obj) \
    X(var, MP_QSTR_dense_forward, tpmod_dense_forward_obj) \
    X(var, MP_QSTR_sparse_dense_backward, tpmod_sparse_dense_backward_obj)
#else
#define TPMOD_SINGLE_FUNCTIONS(X)
#endif

#if TPMOD_PROFILE
#define TPMOD_PROFILE_METHOD(X) X(var, MP_QSTR_profile, tpmod_model_profile_obj)
#else
#define TPMOD_PROFILE_METHOD(X)
#endif

#if TP_INTEGER
#define TPMOD_INTEGER_METHODS(X) \
    X(var, MP_QSTR_floats, tpmod_model_floats_obj) \
    X(fixed, MP_QSTR_exponents, tpmod_model_exponents_obj)
#elif TP_MAPS
#define TPMOD_INTEGER_METHODS(X) X(var, MP_QSTR_floats, tpmod_model_floats_obj)
#else
#define TPMOD_INTEGER_METHODS(X)
#endif

#define TPMOD_TENSOR_METHODS(X) \
    X(fixed, MP_QSTR_fill, tpmod_tensor_fill_obj) \
    X(fixed, MP_QSTR_copy_from, tpmod_tensor_copy_from_obj) \
    X(fixed, MP_QSTR_reshape, tpmod_tensor_reshape_obj) \
    X(fixed, MP_QSTR_tolist, tpmod_tensor_tolist_obj) \
    X(fixed, MP_QSTR___getitem__, tpmod_tensor_getitem_obj)

#define TPMOD_MODEL_METHODS(X) \
    X(fixed, MP_QSTR_train_step, tpmod_model_train_step_obj) \
    X(var, MP_QSTR_step, tpmod_model_step_obj) \
    X(var, MP_QSTR_run, tpmod_model_run_obj) \
    TPMOD_PROFILE_METHOD(X) \
    X(fixed, MP_QSTR_tally, tpmod_model_tally_obj) \
    X(var, MP_QSTR_predict, tpmod_model_predict_obj) \
    X(fixed, MP_QSTR_classify, tpmod_model_classify_obj) \
    X(fixed, MP_QSTR_flush, tpmod_model_flush_obj) \
    X(fixed, MP_QSTR_epoch_end, tpmod_model_epoch_end_obj) \
    X(fixed, MP_QSTR_reset, tpmod_model_reset_obj) \
    X(fixed, MP_QSTR_reset_counters, tpmod_model_reset_counters_obj) \
    X(var, MP_QSTR_optimizer, tpmod_model_optimizer_obj) \
    X(var, MP_QSTR_policy, tpmod_model_policy_obj) \
    X(fixed, MP_QSTR_info, tpmod_model_info_obj) \
    X(fixed, MP_QSTR_counters, tpmod_model_counters_obj) \
    X(fixed, MP_QSTR_layer, tpmod_model_layer_obj) \
    X(var, MP_QSTR_weights, tpmod_model_weights_obj) \
    TPMOD_INTEGER_METHODS(X) \
    X(fixed, MP_QSTR_scale, tpmod_model_scale_obj)

#define TPMOD_SESSION_METHODS(X) \
    X(fixed, MP_QSTR_use, tpmod_session_use_obj) \
    X(fixed, MP_QSTR_train_step, tpmod_session_train_step_obj)

#endif
