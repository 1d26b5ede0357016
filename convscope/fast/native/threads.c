/* Threads: those of the library's own OpenMP work at the parts of a job, so that no others compete
 * with them for the cores. */

#include "common.h"

static void (*parallel)(
    void (*function)(void *), void *argument, unsigned threads, unsigned flags
);                                                     /* GOMP_parallel */
static int (*thread_number)(void), (*team_size)(void); /* omp_get_thread_num, omp_get_num_threads */

API void use_threads_of(void *gomp_parallel, void *number, void *in_team) {
    memcpy(&parallel, &gomp_parallel, sizeof parallel);
    memcpy(&thread_number, &number, sizeof number), memcpy(&team_size, &in_team, sizeof in_team);
}

typedef struct {
    job_function function;
    void *job;
    size count;
    int parts, status;
} shared;

static void take_part(void *argument) {
    shared *s = argument;
    /* a team may be smaller than asked for */
    for (int part = thread_number(); part < s->parts; part += team_size()) {
        const size from = s->count * part / s->parts, to = s->count * (part + 1) / s->parts;
        const int status = s->function(s->job, from, to, part);
        if (status != DONE) __atomic_store_n(&s->status, status, __ATOMIC_RELAXED);
    }
}

int parts_of(size count, int threads) {
    return parallel ? (int)LEAST(LEAST((size)threads, count), MOST_PARTS) : 1;
}

/* DONE, or the status of a part that failed. */
int share(job_function function, void *job, size count, int threads) {
    shared s = {function, job, count, parts_of(count, threads), DONE};
    if (s.parts <= 1) return function(job, 0, count, 0);
    parallel(take_part, &s, (unsigned)s.parts, 0);
    return s.status;
}
