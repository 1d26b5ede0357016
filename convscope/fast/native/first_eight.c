/* The first block of a network as one kernel, where vectors have eight values: 3×3 convolution of
few channels, ReLU, 2×2 max pooling. first.c has it for vectors of sixteen. Here a vector holds
neighbouring output channels, which are neighbours in memory too. */

#ifndef __AVX512F__
#include "vectors.h"

#define MOST_VECTORS 3 /* of output channels at a time, at the four pixels of a window */
#define MOST_WINDOWS 2 /* at a time, where there is one vector */

typedef struct {
    const elem *x;
    const float *weight, *bias; /* 3×3×I×O and O, both with O rounded up */
    elem *y;
    uint8_t *place; /* as in first.h */
    size height, width, in, out;
} block;

#ifdef FLOAT32
INLINE void store_elems(elem *y, vec v, size lanes) { store_part(y, v, lanes); }
#else
INLINE void store_elems(elem *y, vec v, size lanes) {
    for (size i = 0; i < LEAST(lanes, LANES); i++) y[i] = narrow(v[i]);
}
#endif

INLINE vec pick(ivec mask, vec yes, vec no) {
    return (vec)((mask & (ivec)yes) | (~mask & (ivec)no));
}

/* Bias, maximum and ReLU of a window's four sums, of channels from o on; `to` pixels of y. */
INLINE void finish(const block *p, const vec sum[4], size o, size to) {
    typedef uint8_t bytes __attribute__((vector_size(LANES)));
    /* a NaN wins */
    const ivec below_left = (sum[2] > sum[0]) | (sum[2] != sum[2]),
               below_right = (sum[3] > sum[1]) | (sum[3] != sum[3]);
    const vec left = pick(below_left, sum[2], sum[0]), right = pick(below_right, sum[3], sum[1]);
    const ivec at_right = (right > left) | (right != right);
    const vec most = pick(at_right, right, left) + load(p->bias + o);
    const ivec alive = (most > 0) | (most != most);
    const size lanes = LEAST(p->out - o, LANES), at = to * p->out + o;
    store_elems(p->y + at, (vec)((ivec)most & alive), lanes);
    if (!p->place) return;
    const ivec below = (at_right & below_right) | (~at_right & below_left),
               index = (alive & ((below & 2) | (at_right & 1))) | (~alive & 4);
    const bytes places = __builtin_convertvector(index, bytes);
    if (lanes == LANES) memcpy(p->place + at, &places, LANES);
    else memcpy(p->place + at, &places, (size_t)lanes);
}

/* Some windows beside each other, the first at `corner` of the image with its border. */
INLINE void windows(
    const block *p, const float *corner, size row, size o, size to, const size in,
    const int vectors, const int count
) {
    const size columns = round_up(p->out, LANES);
    const float *w = p->weight + o;
    vec sum[MOST_WINDOWS][MOST_VECTORS][4];
    UNROLLED for (int n = 0; n < count; n++) UNROLLED
        for (int q = 0; q < vectors; q++) UNROLLED
            for (int pixel = 0; pixel < 4; pixel++) sum[n][q][pixel] = zeros();
    for (int r = 0; r < 3; r++)
        for (size t = 0; t < 3 * in; t++, w += columns) {
            vec weight[MOST_VECTORS];
            UNROLLED for (int q = 0; q < vectors; q++)
                weight[q] = load(w + q * LANES);
            UNROLLED for (int n = 0; n < count; n++) UNROLLED
                for (int pixel = 0; pixel < 4; pixel++) {
                    const size at = (pixel / 2 + r) * row + (pixel % 2 + 2 * n) * in + t;
                    const vec value = corner[at] - zeros();
                    UNROLLED for (int q = 0; q < vectors; q++)
                        sum[n][q][pixel] += value * weight[q];
                }
        }
    UNROLLED for (int n = 0; n < count; n++) UNROLLED
        for (int q = 0; q < vectors; q++) finish(p, sum[n][q], o + q * LANES, to + n);
}

/* A row of windows. */
INLINE void
line(const block *p, const float *image, size row, size i, size to, const size in) {
    const size half = p->width / 2;
    for (size o = 0; o < p->out;) {
        const size left = (round_up(p->out, LANES) - o) / LANES;
        const float *corner = image + 2 * i * row;
        size j = 0;
        if (left == 1) {
            for (; j + 2 <= half; j += 2)
                windows(p, corner + 2 * j * in, row, o, to + j, in, 1, 2);
            for (; j < half; j++) windows(p, corner + 2 * j * in, row, o, to + j, in, 1, 1);
        } else if (left % 3 == 0) {
            for (; j < half; j++) windows(p, corner + 2 * j * in, row, o, to + j, in, 3, 1);
        } else
            for (; j < half; j++) windows(p, corner + 2 * j * in, row, o, to + j, in, 2, 1);
        o += LANES * (left == 1 ? 1 : left % 3 ? 2 : 3);
    }
}

static int images(void *job, size from, size to, int part) {
    const block *p = job;
    const size row = (p->width + 2) * p->in, half = p->width / 2;
    float *image = calloc((size_t)((p->height + 2) * row), sizeof *image); /* its border stays 0 */
    (void)part;
    if (!image) return OUT_OF_MEMORY;
    for (size n = from; n < to; n++) {
        const elem *x = p->x + n * p->height * p->width * p->in;
        for (size i = 0; i < p->height; i++)
            for (size j = 0; j < p->width * p->in; j++)
                image[(i + 1) * row + p->in + j] = widen(x[i * p->width * p->in + j]);
        for (size i = 0; i < p->height / 2; i++) {
            const size at = (n * (p->height / 2) + i) * half;
            switch (p->in) {
            case 1: line(p, image, row, i, at, 1); break;
            case 3: line(p, image, row, i, at, 3); break;
            default: line(p, image, row, i, at, p->in);
            }
        }
    }
    free(image);
    return DONE;
}

/* weight: O×I×3×3. */
API int first_block(
    const void *x, const float *weight, const float *bias, void *y, void *place, size count,
    size height, size width, size in, size out, int threads
) {
    const size columns = round_up(out, LANES);
    float *turned = calloc((size_t)((9 * in + 1) * columns), sizeof *turned);
    if (!turned) return OUT_OF_MEMORY;
    for (size o = 0; o < out; o++) {
        for (size c = 0; c < in; c++)
            for (size tap = 0; tap < 9; tap++)
                turned[(tap * in + c) * columns + o] = weight[(o * in + c) * 9 + tap];
        turned[9 * in * columns + o] = bias[o];
    }
    block p = {x, turned, turned + 9 * in * columns, y, place, height, width, in, out};
    const int status = share(images, &p, count, threads);
    free(turned);
    return status;
}
#endif
