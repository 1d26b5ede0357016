/* Batch normalisation of M×C values, with statistics over the M rows, a residual and ReLU. */

#include "common.h"

typedef struct {
    const elem *x, *g, *y, *residual;
    elem *out, *d_residual;
    const float *a, *b, *c; /* C values each */
    double *sums; /* for each part 2·C */
    size rows, channels;
    int relu;
} normalising;

/* Runs of whole rows, RUN values or a few more: one loop over a run serves any number of channels. */
INLINE size rows_in_run(size channels) { return channels >= RUN ? 1 : (RUN + channels - 1) / channels; }
#define LONGEST_RUN (MOST_CHANNELS > 2 * RUN ? MOST_CHANNELS : 2 * RUN)

static void repeat(float *run, const float *values, size length, size channels) {
    for (size i = 0; i < length; i++) run[i] = values[i % channels];
}

/* Σ (x − a) and Σ (x − a)²; with g: Σ g' and Σ g' (x − a), where g' is g, or 0 where the ReLU behind was closed. */
#define FLUSH 64  /* runs between two additions in double */
static void sums_job(void *job, size from, size to, int part) {
    const normalising *p = job;
    const size C = p->channels, in_run = rows_in_run(C), L = in_run * C;
    float first[LONGEST_RUN], second[LONGEST_RUN], centre[LONGEST_RUN];
    double *sums = p->sums + 2 * C * part;
    repeat(centre, p->a, L, C);
    memset(sums, 0, 2 * C * sizeof *sums);
    memset(first, 0, sizeof first), memset(second, 0, sizeof second);
    size runs = 0;
    for (size r = from; r < to; r += in_run) {
        const size length = LEAST(in_run, to - r) * C;
        const elem *restrict x = p->x + r * C;
        if (!p->g)
            for (size i = 0; i < length; i++) {
                float v = widen(x[i]) - centre[i];
                first[i] += v, second[i] += v * v;
            }
        else {
            const elem *restrict g = p->g + r * C;
            const bits *restrict y = (const bits *)p->y + (p->relu ? r * C : 0);
            if (p->relu)
                for (size i = 0; i < length; i++) {
                    float v = y[i] > 0 ? widen(g[i]) : 0;
                    first[i] += v, second[i] += v * (widen(x[i]) - centre[i]);
                }
            else
                for (size i = 0; i < length; i++) {
                    float v = widen(g[i]);
                    first[i] += v, second[i] += v * (widen(x[i]) - centre[i]);
                }
        }
        if (++runs % FLUSH == 0 || r + in_run >= to) {
            for (size i = 0; i < L; i++) sums[i % C] += first[i], sums[C + i % C] += second[i];
            memset(first, 0, sizeof first), memset(second, 0, sizeof second);
        }
    }
}

/* out = a·x + b (+ residual), then ReLU */
static void scale_job(void *job, size from, size to, int part) {
    const normalising *p = job;
    const size C = p->channels, in_run = rows_in_run(C), L = in_run * C;
    float scale[LONGEST_RUN], shift[LONGEST_RUN];
    (void)part;
    repeat(scale, p->a, L, C), repeat(shift, p->b, L, C);
    for (size r = from; r < to; r += in_run) {
        const size length = LEAST(in_run, to - r) * C;
        const elem *x = p->x + r * C; /* may be out itself */
        elem *out = p->out + r * C;
        const elem *restrict residual = p->residual ? p->residual + r * C : NULL;
#define SCALE(extra, relu) \
    INDEPENDENT for (size i = 0; i < length; i++) out[i] = narrow(rectified(scale[i] * widen(x[i]) + shift[i] + extra, relu));
        if (residual && p->relu) { SCALE(widen(residual[i]), 1) }
        else if (residual) { SCALE(widen(residual[i]), 0) }
        else if (p->relu) { SCALE(0, 1) }
        else { SCALE(0, 0) }
    }
}

/* dx = a·g' + b·x + c, and the residual's gradient g' */
static void scale_back_job(void *job, size from, size to, int part) {
    const normalising *p = job;
    const size C = p->channels, in_run = rows_in_run(C), L = in_run * C;
    float of_g[LONGEST_RUN], of_x[LONGEST_RUN], shift[LONGEST_RUN];
    (void)part;
    repeat(of_g, p->a, L, C), repeat(of_x, p->b, L, C), repeat(shift, p->c, L, C);
    for (size r = from; r < to; r += in_run) {
        const size length = LEAST(in_run, to - r) * C;
        const elem *restrict x = p->x + r * C, *restrict g = p->g + r * C;
        elem *restrict out = p->out + r * C;
        if (p->relu) {
            const bits *restrict y = (const bits *)p->y + r * C;
            for (size i = 0; i < length; i++) {
                float v = y[i] > 0 ? widen(g[i]) : 0;
                out[i] = narrow(of_g[i] * v + of_x[i] * widen(x[i]) + shift[i]);
            }
            if (p->d_residual) {
                elem *restrict d = p->d_residual + r * C;
                for (size i = 0; i < length; i++) d[i] = y[i] > 0 ? g[i] : 0;
            }
        } else
            for (size i = 0; i < length; i++) out[i] = narrow(of_g[i] * widen(g[i]) + of_x[i] * widen(x[i]) + shift[i]);
    }
}

static void summed(normalising *p, int threads, double *total) {
    const int parts = parts_of(p->rows, threads);
    p->sums = calloc(2 * p->channels * parts, sizeof(double));
    share(sums_job, p, p->rows, parts);
    for (size i = 0; i < 2 * p->channels; i++) {
        total[i] = 0;
        for (int part = 0; part < parts; part++) total[i] += p->sums[2 * p->channels * part + i];
    }
    free(p->sums);
}

/* Means and (biased) variances of the columns. */
API void moments(const void *x, float *mean, float *variance, size rows, size channels, int threads) {
    float centre[MOST_CHANNELS];
    double total[2 * MOST_CHANNELS];
    for (size c = 0; c < channels; c++) centre[c] = widen(((const elem *)x)[c]); /* near the mean: no cancellation in the squares */
    normalising p = {.x = x, .a = centre, .rows = rows, .channels = channels};
    summed(&p, threads, total);
    for (size c = 0; c < channels; c++) {
        double m = total[c] / rows, v = total[channels + c] / rows - m * m;
        mean[c] = (float)(centre[c] + m), variance[c] = (float)(v > 0 || v != v ? v : 0);
    }
}
API void scale_shift(const void *x, const void *residual, void *out, const float *scale, const float *shift, size rows, size channels, int relu, int threads) {
    normalising p = {.x = x, .residual = residual, .out = out, .a = scale, .b = shift, .rows = rows, .channels = channels, .relu = relu};
    share(scale_job, &p, rows, threads);
}
/* Gradients of normalisation by batch statistics: of x, of weight and bias, and of the residual where d_residual is not null (only needed behind ReLU). */
API void normalise_back(
    const void *x, const void *y, const void *g, const float *mean, const float *inverse_sd, const float *weight, void *dx, void *d_residual, float *d_weight,
    float *d_bias, size rows, size channels, int relu, int threads
) {
    float of_g[MOST_CHANNELS], of_x[MOST_CHANNELS], shift[MOST_CHANNELS];
    double total[2 * MOST_CHANNELS];
    normalising p = {
        .x = x, .y = y, .g = g, .out = dx, .d_residual = d_residual, .a = mean, .rows = rows, .channels = channels, .relu = relu,
    };
    summed(&p, threads, total);
    for (size c = 0; c < channels; c++) {
        double sd = inverse_sd[c], of_weight = total[channels + c] * sd;
        d_bias[c] = (float)total[c], d_weight[c] = (float)of_weight;
        double factor = weight[c] * sd, slope = factor * of_weight / rows * sd;
        of_g[c] = (float)factor, of_x[c] = (float)-slope, shift[c] = (float)(slope * mean[c] - factor * total[c] / rows);
    }
    p.a = of_g, p.b = of_x, p.c = shift;
    share(scale_back_job, &p, rows, threads);
}
