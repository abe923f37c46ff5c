// The parts of a kernel for each of two cores (see tp_kernels_cores.h). Written for few bytes.
#include "tp_kernels_cores.h"

#if TP_CORES

#undef tp_k_matvec_f32
#undef tp_k_matvec_index_f32
#undef tp_k_rows_dx_f32
#undef tp_k_rows_update_f32

// Handing over costs about as much as so many multiply-accumulates of integers, or a 32nd of float32.
#ifndef TP_LEAST
#define TP_LEAST 1024u
#endif
#define TP_FLOAT 32u

// Does handing over pay, and can it be done?
static bool tp_pays(size_t n, size_t macs) {
    return n > 1u && macs >= TP_LEAST && tp_core1_is_free();
}

// This core does half of n, the other one the rest.
static void tp_both(tp_job_t *job, size_t n) {
    job->from = n / 2u;
    job->to = n;
    tp_core1_start(job);
    job->run(job, 0, job->from);
    tp_core1_wait();
}

static void tp_part_matvec_f32(const tp_job_t *q, size_t from, size_t to) {
    float *z = (float *)q->out + from;
    const float *w = (const float *)q->w + from * q->cols, *b = (const float *)q->d + from;
    if (q->index == NULL) {
        tp_k_matvec_f32(z, w, q->x, b, to - from, q->cols);
    } else {
        tp_k_matvec_index_f32(z, w, q->x, b, to - from, q->cols, q->index);
    }
}

void tp_both_matvec_f32(float *z, const float *w, const float *x, const float *b, size_t rows,
    size_t cols, const tp_k_index_t *index) {
    tp_job_t job = {.run = tp_part_matvec_f32, .out = z, .w = w, .x = x, .d = b, .cols = cols};
    job.index = index;
    if (tp_pays(rows, rows * (index != NULL ? index->total : cols) * TP_FLOAT)) {
        tp_both(&job, rows);
    } else {
        tp_part_matvec_f32(&job, 0, rows);
    }
}

// Of dx columns, or entries of the index; of the update (x is given) rows that are kept.
static void tp_part_rows_f32(const tp_job_t *q, size_t from, size_t to) {
    const float *d = q->d, *x = q->x;
    tp_k_index_t index;
    if (q->index != NULL) {
        index = *(const tp_k_index_t *)q->index;
        if (x == NULL) { // in whatever order
            index.columns += from;
            index.total = (uint32_t)(to - from);
        }
    }
    size_t at = q->index != NULL || x != NULL ? 0 : from;
    size_t n = x == NULL ? to - from : q->cols, kept = 0;
    for (size_t o = 0; (o = tp_k_next_f32(d, o, q->rows)) < q->rows; o++) {
        float *w = (float *)(uintptr_t)q->w + o * q->cols, *y = x != NULL ? w : q->out;
        const float *v = x != NULL ? x : w;
        float a = x != NULL ? -(q->lr * d[o]) : d[o];
        if (x != NULL && (kept++ < from || kept > to)) {
            continue;
        }
        if (q->index != NULL) {
            tp_k_axpy_index_f32(y, a, v, &index);
        } else {
            tp_k_axpy_f32(y + at, a, v + at, n);
        }
    }
}

static size_t tp_both_rows_f32(float *dx, const float *w, float lr, const float *d, const float *x,
    size_t rows, size_t cols, const tp_k_index_t *index) {
    size_t kept = tp_k_count_f32(d, rows), n = index != NULL ? index->total : cols;
    tp_job_t job = {.run = tp_part_rows_f32, .out = dx, .w = w, .x = x, .d = d, .rows = rows};
    job.cols = cols;
    job.index = index;
    job.lr = lr;
    size_t parts = x != NULL ? kept : n;
    if (tp_pays(parts, kept * n * TP_FLOAT)) {
        tp_both(&job, parts);
    } else {
        tp_part_rows_f32(&job, 0, parts);
    }
    return kept;
}

size_t tp_both_rows_dx_f32(float *dx, const float *w, const float *d, size_t rows, size_t cols,
    const tp_k_index_t *index) {
    return tp_both_rows_f32(dx, w, 0.0f, d, NULL, rows, cols, index);
}

size_t tp_both_rows_update_f32(float *w, float lr, const float *d, const float *x, size_t rows,
    size_t cols, const tp_k_index_t *index) {
    return tp_both_rows_f32(NULL, w, lr, d, x, rows, cols, index);
}

#if TP_INTEGER

#undef tp_ki_matvec_i8
#undef tp_ki_matvec_i16
#undef tp_ki_rows_dx_i8
#undef tp_ki_rows_dx_i16
#undef tp_ki_rows_update_i8
#undef tp_ki_rows_update_i16

static void tp_part_matvec_int(const tp_job_t *q, size_t from, size_t to) {
    int32_t *z = (int32_t *)q->out + from;
    size_t at = from * q->cols;
    if (q->wide) {
        tp_ki_matvec_i16(z, (const int16_t *)q->w + at, q->x, to - from, q->cols, q->shift,
            q->index);
    } else {
        tp_ki_matvec_i8(z, (const int8_t *)q->w + at, q->x, to - from, q->cols, q->index);
    }
}

// Columns, or entries of the index.
static void tp_part_dx_int(const tp_job_t *q, size_t from, size_t to) {
    tp_ki_index_t some = {NULL, (uint32_t)(to - from)};
    const tp_ki_index_t *index = q->index;
    if (index != NULL) {
        some.columns = index->columns + from;
        index = &some;
        from = 0;
    }
    const tp_ki_row_t *rows = q->d, *end = rows + q->rows;
    while (rows < end) {
        tp_ki_row_t two[2];
        size_t n = 0;
        while (n < 2u && rows < end) {
            two[n] = *rows++;
            two[n].w = (uint8_t *)two[n].w + (from << q->wide);
            n++;
        }
        (q->wide ? tp_ki_rows_dx_i16 : tp_ki_rows_dx_i8)((int32_t *)q->out + from, two, n,
            some.total, index);
    }
}

static void tp_part_update_int(const tp_job_t *q, size_t from, size_t to) {
    const tp_ki_row_t *rows = (const tp_ki_row_t *)q->d + from;
    if (q->wide) {
        tp_ki_rows_update_i16(rows, to - from, q->x, q->cols, q->index);
    } else {
        tp_ki_rows_update_i8(rows, to - from, q->x, q->cols, q->index);
    }
}

// `columns`: these are the parts.
static void tp_both_int(tp_job_t *job, const tp_ki_index_t *index, bool columns) {
    size_t n = index != NULL ? index->total : job->cols, macs = n * job->rows;
    job->index = index;
    n = columns ? n : job->rows;
    if (tp_pays(n, macs)) {
        tp_both(job, n);
    } else {
        job->run(job, 0, n);
    }
}

void tp_both_matvec_int(int32_t *z, const void *w, const void *x, size_t rows, size_t cols,
    uint32_t shift, const tp_ki_index_t *index, bool wide) {
    tp_job_t job = {.run = tp_part_matvec_int, .out = z, .w = w, .x = x, .rows = rows};
    job.cols = cols;
    job.shift = shift;
    job.wide = wide;
    tp_both_int(&job, index, false);
}

void tp_both_rows_dx_int(int32_t *dx, const tp_ki_row_t *rows, size_t n_rows, size_t cols,
    const tp_ki_index_t *index, bool wide) {
    tp_job_t job = {.run = tp_part_dx_int, .out = dx, .d = rows, .rows = n_rows, .cols = cols};
    job.wide = wide;
    tp_both_int(&job, index, true);
}

// Two rows may share a word: kernels write its bytes alone.
void tp_both_rows_update_int(const tp_ki_row_t *rows, size_t n_rows, const void *x, size_t cols,
    const tp_ki_index_t *index, bool wide) {
    tp_job_t job = {.run = tp_part_update_int, .x = x, .d = rows, .rows = n_rows, .cols = cols};
    job.wide = wide;
    tp_both_int(&job, index, false);
}

#endif

#endif
