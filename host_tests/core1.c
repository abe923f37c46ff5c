// For tests: "core 1" does its part of a job at once, before core 0 begins. Whatever one part needs
// of the other comes out wrong then.
#include "../usermod_tinyprop/kernels/tp_kernels_cores.h"

#if TP_CORES
extern unsigned tp_core1_jobs;
unsigned tp_core1_jobs;

bool tp_core1_is_free(void) {
    return true;
}

void tp_core1_start(const tp_job_t *job) {
    tp_core1_jobs++;
    job->run(job, job->from, job->to);
}

void tp_core1_wait(void) {
}
#endif
