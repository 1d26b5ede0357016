#pragma once
/* Eight floats to a vector, by the compiler's vectors, so that AVX2 and NEON are used alike. */

#include "common.h"
#ifdef __AVX2__
#include <immintrin.h>
#endif

#define LANES 8
#define UNROLLED _Pragma("GCC unroll 12")

typedef float vec __attribute__((vector_size(32)));
typedef int32_t ivec __attribute__((vector_size(32)));
typedef float loose __attribute__((vector_size(32), aligned(4), may_alias));

INLINE vec load(const float *p) { return *(const loose *)p; }
INLINE void store(float *p, vec v) { *(loose *)p = v; }
INLINE vec zeros(void) { return (vec){0}; }

/* The first `lanes` values; the others are zero, and are neither read nor written. */
#ifdef __AVX2__
INLINE __m256i mask_of(size lanes) {
    const __m256i order = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)lanes), order);
}
INLINE vec load_part(const float *p, size lanes) {
    return lanes >= LANES ? load(p) : (vec)_mm256_maskload_ps(p, mask_of(lanes));
}
INLINE void store_part(float *p, vec v, size lanes) {
    if (lanes >= LANES) store(p, v);
    else _mm256_maskstore_ps(p, mask_of(lanes), (__m256)v);
}
#else
INLINE vec load_part(const float *p, size lanes) {
    if (lanes >= LANES) return load(p);
    vec v = zeros();
    for (size i = 0; i < lanes; i++) v[i] = p[i];
    return v;
}
INLINE void store_part(float *p, vec v, size lanes) {
    if (lanes >= LANES) store(p, v);
    else
        for (size i = 0; i < lanes; i++) p[i] = v[i];
}
#endif
