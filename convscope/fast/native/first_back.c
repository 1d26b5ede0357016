/* The gradients of the first block's filters and biases. */

#include "first.h"

typedef vec patch_sum[3][ROW_VECTORS]; /* of a channel: rows of a patch */

/* B channels' gradients at the places of their maxima, times the patches there; where none was
 * positive the gradient counts as 0. `used`: vectors of a row that hold values. */
INLINE void patches(
    const first *p, const float *image, size row, size n, size o, const int B, const int used,
    patch_sum *sum, float *bias
) {
    const size half = p->width / 2, O = p->out;
    const size step[5] = {0, p->in, row, row + p->in, 0};
    patch_sum s[MOST_BLOCK];
    float total[MOST_BLOCK];
    UNROLLED for (int b = 0; b < B; b++) {
        total[b] = bias[b];
        UNROLLED for (int r = 0; r < 3; r++) UNROLLED
            for (int q = 0; q < used; q++) s[b][r][q] = sum[b][r][q];
    }
    for (size i = 0; i < p->height / 2; i++) {
        const size at = (n * (p->height / 2) + i) * half * O + o;
        for (size j = 0; j < half; j++) {
            const float *corner = image + 2 * i * row + 2 * j * p->in;
            UNROLLED for (int b = 0; b < B; b++) {
                const uint8_t place = p->place[at + j * O + b];
                const float g = place < 4 ? widen(p->g[at + j * O + b]) : 0.0f;
                const float *patch = corner + step[place];
                UNROLLED for (int r = 0; r < 3; r++) UNROLLED
                    for (int q = 0; q < used; q++)
                        s[b][r][q] += load(patch + r * row + q * WIDTH) * g;
                total[b] += g;
            }
        }
    }
    UNROLLED for (int b = 0; b < B; b++) {
        bias[b] = total[b];
        UNROLLED for (int r = 0; r < 3; r++) UNROLLED
            for (int q = 0; q < used; q++) sum[b][r][q] = s[b][r][q];
    }
}

static int first_back_job(void *job, size from, size to, int part) {
    const first *p = job;
    const size row = (p->width + 2) * p->in, length = (p->height + 2) * row + LANES;
    float *image = calloc(length, sizeof *image);
    const size bytes = (size)sizeof(patch_sum) * p->out;
    patch_sum *sums = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64);
    if (!image || !sums) {
        free(image), free(sums);
        return OUT_OF_MEMORY;
    }
    float *mine = p->sums + part * p->out * (3 * LANES + 1), *bias = mine + 3 * LANES * p->out;
    memset(sums, 0, (size_t)bytes);
    memset(bias, 0, sizeof(float) * p->out);
    for (size n = from; n < to; n++) {
        const elem *x = p->x + n * p->height * p->width * p->in;
        for (size i = 0; i < p->height; i++)
            for (size j = 0; j < p->width * p->in; j++)
                image[(i + 1) * row + p->in + j] = widen(x[i * p->width * p->in + j]);
        if (3 * p->in <= WIDTH) {
            BLOCKS(patches(p, image, row, n, o, B, 1, sums + o, bias + o))
        } else {
            BLOCKS(patches(p, image, row, n, o, B, ROW_VECTORS, sums + o, bias + o))
        }
    }
    memcpy(mine, sums, (size_t)bytes);
    free(image), free(sums);
    return DONE;
}

API int first_block_back(
    const void *x, const void *place, const void *g, float *d_weight, float *d_bias, size count,
    size height, size width, size in, size out, int threads
) {
    const int parts = parts_of(count, threads);
    const size each = out * (3 * LANES + 1);
    first p = {
        .x = x,
        .g = g,
        .place = (uint8_t *)place,
        .height = height,
        .width = width,
        .in = in,
        .out = out
    };
    p.sums = calloc(each * parts, sizeof(float));
    if (!p.sums) return OUT_OF_MEMORY;
    const int status = share(first_back_job, &p, count, parts);
    for (size o = 0; status == DONE && o < out; o++) {
        d_bias[o] = 0;
        for (int part = 0; part < parts; part++)
            d_bias[o] += p.sums[part * each + 3 * LANES * out + o];
        for (size c = 0; c < in; c++)
            for (int k = 0; k < 9; k++) {
                float total = 0;
                for (int part = 0; part < parts; part++)
                    total += p.sums[part * each + (o * 3 + k / 3) * LANES + k % 3 * in + c];
                d_weight[(o * in + c) * 9 + k] = total;
            }
    }
    free(p.sums);
    return status;
}
