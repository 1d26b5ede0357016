#pragma once
/* What both directions of the first block share. */

#include "common.h"

/* No gradient of the images is asked for, so the feature map before pooling is never written:
   forward keeps which of the four values won, and backward adds up patches at these places alone, a
   quarter of the products. Sixteen neighbouring columns are computed at once. */

#define UNROLLED _Pragma("GCC unroll 12")

#define LANES 16 /* values that are kept of a row of a patch */
#ifdef __AVX512F__
#define WIDTH 16 /* values in a vector */
#define BLOCK 4  /* output channels at a time */
#else
#define WIDTH 8
#define BLOCK 2
#endif
#define MOST_BLOCK 4
#define ROW_VECTORS (LANES / WIDTH)
typedef float vec __attribute__((vector_size(4 * WIDTH)));
typedef int32_t ivec __attribute__((vector_size(4 * WIDTH)));
#define MOST_IN 5 /* channels: a row of a patch, 3 pixels of these, fits a vector */

INLINE vec load(const float *p) {
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE vec pick(ivec mask, vec yes, vec no) {
    return (vec)((mask & (ivec)yes) | (~mask & (ivec)no));
}

typedef struct {
    const elem *x, *g;
    const uint32_t *packed; /* pairs of weights in bfloat16; null where they are not multiplied as
                               pairs */
    const float *weight, *bias; /* O×I×3×3, O */
    elem *y;
    uint8_t *place; /* 0 … 3: which value of the window won; 4: none, it was not positive. Null
                       where no gradient will be asked for. */
    float *sums;    /* for each part O×3×LANES and O */
    size height, width, in, out;
} first;

#define BLOCKS(call) \
    for (size o = 0; o < p->out; o += BLOCK) switch (LEAST(BLOCK, p->out - o)) { \
        case 1: { \
            enum { B = 1 }; \
            call; \
            break; \
        } \
        case 2: { \
            enum { B = 2 }; \
            call; \
            break; \
        } \
        case 3: { \
            enum { B = 3 }; \
            call; \
            break; \
        } \
        default: { \
            enum { B = 4 }; \
            call; \
        } \
        }
