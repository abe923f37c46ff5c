// Two cores: the loops over weights, shared with core 1 where the port has a worker there. Each
// output, each row of weights and each column of dx is computed by one core alone, in the order
// of one core, so the bits are the same. Core includes this behind the kernels and calls them as ever.
#ifndef TP_KERNELS_CORES_H
#define TP_KERNELS_CORES_H

#include "tp_kernels.h"
#include "tp_kernels_int.h"

#if TP_CORES

// A kernel at work: run(job, from, to) is a part of it, of rows or columns.
typedef struct tp_job {
    void (*run)(const struct tp_job *job, size_t from, size_t to);
    size_t from, to; // what core 1 does
    void *out;
    const void *w, *x, *d;
    size_t rows, cols;
    const void *index;
    float lr;
    uint32_t shift;
    bool wide;
} tp_job_t;

// Of the port. Is there a worker, and nothing in its hands?
bool tp_core1_is_free(void);
// It runs its part of a job; the job has to stay until tp_core1_wait() comes back.
void tp_core1_start(const tp_job_t *job);
void tp_core1_wait(void);
// Starts the worker (2) or ends it (1), asks only (0); returns how many cores there are at work.
uint32_t tp_core1_set(uint32_t cores);

void tp_both_matvec_f32(float *z, const float *w, const float *x, const float *b, size_t rows,
    size_t cols, const tp_k_index_t *index);
size_t tp_both_rows_dx_f32(float *dx, const float *w, const float *d, size_t rows, size_t cols,
    const tp_k_index_t *index);
size_t tp_both_rows_update_f32(float *w, float lr, const float *d, const float *x, size_t rows,
    size_t cols, const tp_k_index_t *index);
#define tp_k_matvec_f32(z, w, x, b, rows, cols) tp_both_matvec_f32(z, w, x, b, rows, cols, NULL)
#define tp_k_matvec_index_f32 tp_both_matvec_f32
#define tp_k_rows_dx_f32 tp_both_rows_dx_f32
#define tp_k_rows_update_f32 tp_both_rows_update_f32

#if TP_INTEGER
void tp_both_matvec_int(int32_t *z, const void *w, const void *x, size_t rows, size_t cols,
    uint32_t shift, const tp_ki_index_t *index, bool wide);
void tp_both_rows_dx_int(int32_t *dx, const tp_ki_row_t *rows, size_t n_rows, size_t cols,
    const tp_ki_index_t *index, bool wide);
void tp_both_rows_update_int(const tp_ki_row_t *rows, size_t n_rows, const void *x, size_t cols,
    const tp_ki_index_t *index, bool wide);
#define tp_ki_matvec_i8(z, w, x, rows, cols, index) \
    tp_both_matvec_int(z, w, x, rows, cols, 0, index, false)
#define tp_ki_matvec_i16(z, w, x, rows, cols, shift, index) \
    tp_both_matvec_int(z, w, x, rows, cols, shift, index, true)
#define tp_ki_rows_dx_i8(dx, rows, n, cols, index) \
    tp_both_rows_dx_int(dx, rows, n, cols, index, false)
#define tp_ki_rows_dx_i16(dx, rows, n, cols, index) \
    tp_both_rows_dx_int(dx, rows, n, cols, index, true)
#define tp_ki_rows_update_i8(rows, n, x, cols, index) \
    tp_both_rows_update_int(rows, n, x, cols, index, false)
#define tp_ki_rows_update_i16(rows, n, x, cols, index) \
    tp_both_rows_update_int(rows, n, x, cols, index, true)
#endif

#endif

#endif
