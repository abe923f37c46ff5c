// The parts of a kernel for each of two cores (see tp_kernels_cores.h).
#include "tp_kernels_cores.h"

#if TP_CORES

#undef tp_k_matvec_f32
#undef tp_k_matvec_index_f32
#undef tp_k_rows_dx_f32
#undef tp_k_rows_update_f32

// Below so many multiply-accumulates handing them over costs more than it saves.
#define TP_LEAST_FLOAT 32u
#define TP_LEAST_INT 1024u

static bool tp_pays(size_t n, size_t macs, size_t least) {
    return n > 1 && macs >= least && tp_core1_is_free();
}

// This core does the first `split` of n, the other one the rest.
static void tp_share(tp_job_t *job, size_t split, size_t n) {
    job->from = split;
    job->to = n;
    tp_core1_start(job);
    job->run(job, 0, split);
    tp_core1_wait();
}

// Half of n; kernels take four at a time.
static size_t tp_half(size_t n) {
    return n < 8u ? n / 2u : (n / 2u + 2u) & ~(size_t)3u;
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
    tp_job_t job = {
        tp_part_matvec_f32, 0, 0, z, w, x, b, rows, cols, index, 0.0f, 0, false};
    if (tp_pays(rows, rows * (index != NULL ? index->total : cols), TP_LEAST_FLOAT)) {
        tp_share(&job, tp_half(rows), rows);
    } else {
        tp_part_matvec_f32(&job, 0, rows);
    }
}

// Columns, or entries of the index.
static void tp_part_dx_f32(const tp_job_t *q, size_t from, size_t to) {
    float *dx = q->out;
    const float *w = q->w, *d = q->d;
    const tp_k_index_t *all = q->index;
    if (all != NULL) {
        // Columns by lane matter to sums alone.
        tp_k_index_t some = {all->columns + from, {0}, (uint32_t)(to - from)};
        some.count[0] = some.total;
        tp_k_rows_dx_f32(dx, w, d, q->rows, q->cols, &some);
        return;
    }
    size_t o = 0;
    while ((o = tp_k_next_f32(d, o, q->rows)) < q->rows) {
        tp_k_axpy_f32(dx + from, d[o], w + o * q->cols + from, to - from);
        o++;
    }
}

size_t tp_both_rows_dx_f32(float *dx, const float *w, const float *d, size_t rows, size_t cols,
    const tp_k_index_t *index) {
    size_t n = index != NULL ? index->total : cols, kept;
    if (!tp_pays(n, rows * n, TP_LEAST_FLOAT) || (kept = tp_k_count_f32(d, rows)) == 0) {
        return tp_k_rows_dx_f32(dx, w, d, rows, cols, index);
    }
    tp_job_t job = {tp_part_dx_f32, 0, 0, dx, w, NULL, d, rows, cols, index, 0.0f, 0, false};
    tp_share(&job, n / 2u, n);
    return kept;
}

static void tp_part_update_f32(const tp_job_t *q, size_t from, size_t to) {
    float *w = (float *)q->out + from * q->cols;
    tp_k_rows_update_f32(w, q->lr, (const float *)q->d + from, q->x, to - from, q->cols, q->index);
}

size_t tp_both_rows_update_f32(float *w, float lr, const float *d, const float *x, size_t rows,
    size_t cols, const tp_k_index_t *index) {
    size_t macs = rows * (index != NULL ? index->total : cols), kept;
    if (!tp_pays(rows, macs, TP_LEAST_FLOAT) || (kept = tp_k_count_f32(d, rows)) < 2u) {
        return tp_k_rows_update_f32(w, lr, d, x, rows, cols, index);
    }
    // Half of those that are kept.
    size_t split = 0;
    for (size_t i = 0; i < kept / 2u; i++) {
        split = tp_k_next_f32(d, split, rows) + 1u;
    }
    tp_job_t job = {tp_part_update_f32, 0, 0, w, NULL, x, d, rows, cols, index, lr, 0, false};
    tp_share(&job, split, rows);
    return kept;
}

#if TP_INTEGER

#undef tp_ki_matvec_i8
#undef tp_ki_matvec_i16
#undef tp_ki_rows_dx_i8
#undef tp_ki_rows_dx_i16
#undef tp_ki_rows_update_i8
#undef tp_ki_rows_update_i16

static size_t tp_taken(size_t cols, const tp_ki_index_t *index) {
    return index != NULL ? index->total : cols;
}

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

void tp_both_matvec_int(int32_t *z, const void *w, const void *x, size_t rows, size_t cols,
    uint32_t shift, const tp_ki_index_t *index, bool wide) {
    tp_job_t job = {
        tp_part_matvec_int, 0, 0, z, w, x, NULL, rows, cols, index, 0.0f, shift, wide};
    if (tp_pays(rows, rows * tp_taken(cols, index), TP_LEAST_INT)) {
        tp_share(&job, tp_half(rows), rows);
    } else {
        tp_part_matvec_int(&job, 0, rows);
    }
}

static void tp_rows_dx_int(const tp_job_t *q, int32_t *dx, const tp_ki_row_t *rows, size_t n,
    size_t cols, const tp_ki_index_t *index) {
    if (q->wide) {
        tp_ki_rows_dx_i16(dx, rows, n, cols, index);
    } else {
        tp_ki_rows_dx_i8(dx, rows, n, cols, index);
    }
}

// Columns, or entries of the index.
static void tp_part_dx_int(const tp_job_t *q, size_t from, size_t to) {
    const tp_ki_row_t *rows = q->d;
    const tp_ki_index_t *all = q->index;
    if (all != NULL) {
        tp_ki_index_t some = {all->columns + from, (uint32_t)(to - from)};
        tp_rows_dx_int(q, q->out, rows, q->rows, q->cols, &some);
        return;
    }
    for (size_t o = 0; o < q->rows; o += 4u) {
        tp_ki_row_t four[4];
        size_t n = q->rows - o < 4u ? q->rows - o : 4u;
        for (size_t r = 0; r < n; r++) {
            four[r] = rows[o + r];
            four[r].w = (uint8_t *)four[r].w + (q->wide ? 2u * from : from);
        }
        tp_rows_dx_int(q, (int32_t *)q->out + from, four, n, to - from, NULL);
    }
}

void tp_both_rows_dx_int(int32_t *dx, const tp_ki_row_t *rows, size_t n_rows, size_t cols,
    const tp_ki_index_t *index, bool wide) {
    tp_job_t job = {
        tp_part_dx_int, 0, 0, dx, NULL, NULL, rows, n_rows, cols, index, 0.0f, 0, wide};
    size_t n = tp_taken(cols, index);
    if (tp_pays(n, n_rows * n, TP_LEAST_INT)) {
        tp_share(&job, tp_half(n), n);
    } else {
        tp_rows_dx_int(&job, dx, rows, n_rows, cols, index);
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

// Two rows may share a word: kernels write its bytes alone.
void tp_both_rows_update_int(const tp_ki_row_t *rows, size_t n_rows, const void *x, size_t cols,
    const tp_ki_index_t *index, bool wide) {
    tp_job_t job = {
        tp_part_update_int, 0, 0, NULL, NULL, x, rows, n_rows, cols, index, 0.0f, 0, wide};
    if (tp_pays(n_rows, n_rows * tp_taken(cols, index), TP_LEAST_INT)) {
        tp_share(&job, n_rows / 2u, n_rows);
    } else {
        tp_part_update_int(&job, 0, n_rows);
    }
}

#endif

#endif
