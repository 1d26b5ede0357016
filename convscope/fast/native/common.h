#pragma once
/* Compiled kernels: what surrounds the convolutions of a small network, on channels_last tensors:
pooling, activation, normalisation, and the whole first block.

The library's kernels for these take as long as the convolutions themselves: they keep a 64-bit
index of every maximum, clear gradients before they write them, and walk through memory once for
every operation. Here each is one pass. `elem` is bfloat16, or float where FLOAT32 is defined; sums
are taken in float over short runs and in double over these. Every tensor is N×H×W×C and dense.
Nothing here allocates tensors or knows the library; compiler.py compiles these files, and the
Python modules beside this folder call them with checked shapes. Every function returns a status.
*/

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define API __attribute__((visibility("default")))
typedef int64_t size;

INLINE size round_up(size n, size to) { return (n + to - 1) / to * to; }

#ifdef FLOAT32
typedef float elem;
typedef int32_t bits;
#define MAGNITUDE 0x7fffffff
#define INFINITE 0x7f800000
INLINE float widen(elem v) { return v; }
INLINE elem narrow(float v) { return v; }
#else
typedef uint16_t elem;
typedef int16_t bits;
#define MAGNITUDE 0x7fff
#define INFINITE 0x7f80
INLINE float widen(elem v) {
    uint32_t u = (uint32_t)v << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
/* round to nearest, ties to even; a NaN stays one */
INLINE elem narrow(float v) {
    uint32_t u;
    memcpy(&u, &v, 4);
    uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    return (elem)((u & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}
#endif

INLINE float rectified(float v, const int relu) { return relu ? (v > 0 || v != v ? v : 0) : v; }

#ifdef __clang__
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif
#define LEAST(a, b) ((a) < (b) ? (a) : (b))
#define MOST_CHANNELS 4096
#define RUN \
    512 /* values in a run, about: long enough for wide vectors, short enough for the first cache \
         */

/* What functions return; shared_library.py turns it into an exception. */
enum { DONE = 0, OUT_OF_MEMORY = 1 };

/* A job is cut into at most MOST_PARTS parts: `parts_of` tells into how many, `share` has them
 * done. */
typedef int (*job_function)(void *job, size from, size to, int part);
#define MOST_PARTS 64
int parts_of(size count, int threads);
int share(job_function function, void *job, size count, int threads);
