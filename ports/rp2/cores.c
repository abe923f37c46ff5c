// The worker on core 1 of the RP2040, as a thread of MicroPython's: so `_thread` and the worker keep
// each other out ("core1 in use"), its stack lies on the heap where the collector sees it, writing
// to flash pauses it, and a soft reset ends it.

#include "../../usermod_tinyprop/kernels/tp_kernels_cores.h"
#include "py/mpthread.h"
#include "py/runtime.h"

#include "hardware/sync.h"

#if TP_CORES

static const tp_job_t *volatile tp_core1_job;

static void *tp_core1_work(void *arg) {
    for (;;) {
        const tp_job_t *job = tp_core1_job;
        if (job == NULL) {
            __wfe();
            continue;
        }
        job->run(job, job->from, job->to);
        __dmb();
        tp_core1_job = NULL;
        __sev();
    }
    return arg;
}

bool tp_core1_is_free(void) {
    return core1_entry == tp_core1_work && tp_core1_job == NULL;
}

void tp_core1_start(const tp_job_t *job) {
    __dmb();
    tp_core1_job = job;
    __sev();
}

void tp_core1_wait(void) {
    while (tp_core1_job != NULL) {
        __wfe();
    }
    __dmb();
}

uint32_t tp_core1_set(uint32_t cores) {
    bool runs = core1_entry == tp_core1_work;
    if (cores == 1u && runs) {
        mp_thread_deinit();
    } else if (cores == 2u && !runs) {
        if (core1_entry != NULL) {
            mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("core 1 is in use by _thread"));
        }
        size_t stack = 0; // MicroPython's choice, 4 kB
        mp_thread_create(tp_core1_work, NULL, &stack);
    }
    return core1_entry == tp_core1_work ? 2u : 1u;
}

#endif
