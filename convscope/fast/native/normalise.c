/* Batch normalisation of M×C values, with statistics over the M rows, a residual, and ReLU or GELU.
 */

#include "common.h"

enum { NONE, RELU, GELU };

/* 2^(x / ln 2) by a polynomial on half a binade either side; relative error below 1e-5, far below
 * bfloat16's. */
INLINE float exponential(float x) {
    const float t = x * 1.44269504f, whole = __builtin_rintf(t), f = t - whole;
    const float p =
        1 +
        f * (0.693147181f +
             f * (0.240226507f + f * (0.0555041087f + f * (0.00961812911f + f * 0.00133335581f))));
    const int32_t power = ((int32_t)whole + 127) << 23;
    float two;
    memcpy(&two, &power, 4);
    return p * two;
}
/* x·σ(2u), u = √(2/π)·(x + 0.044715·x³): GELU with the hyperbolic tangent (Hendrycks & Gimpel
 * 2016), and its slope */
#define ROOT 0.797884561f
#define CUBE 0.044715f
#define STEEP \
    80.0f /* beyond ±STEEP the sigmoid is 0 or 1 to the last bit, and its exponential is finite */
INLINE float gate(float x) {
    const float twice = 2 * ROOT * x * (1 + CUBE * x * x);
    const float bounded = twice > STEEP ? STEEP : twice < -STEEP ? -STEEP : twice;
    return 1 / (1 + exponential(-bounded));
}
INLINE float gelu(float x) { return x * gate(x); }
INLINE float gelu_slope(float x) {
    const float s = gate(x);
    return s + x * s * (1 - s) * 2 * ROOT * (1 + 3 * CUBE * x * x);
}
INLINE float activated(float v, const int activation) {
    return activation == GELU ? gelu(v) : rectified(v, activation == RELU);
}

typedef struct {
    const elem *x, *g, *y, *residual;
    elem *out, *d_residual;
    const float *a, *b, *c;     /* C values each */
    const float *scale, *shift; /* of GELU's inputs, backward */
    double *sums;               /* for each part 2·C */
    size rows, channels;
    int activation;
} normalising;

/* Runs of whole rows, RUN values or a few more: one loop over a run serves any number of channels.
 */
INLINE size rows_in_run(size channels) {
    return channels >= RUN ? 1 : (RUN + channels - 1) / channels;
}
#define LONGEST_RUN (MOST_CHANNELS > 2 * RUN ? MOST_CHANNELS : 2 * RUN)

static void repeat(float *run, const float *values, size length, size channels) {
    for (size i = 0; i < length; i++) run[i] = values[i % channels];
}

/* Σ (x − a) and Σ (x − a)²; with g: Σ g' and Σ g' (x − a), where g' is g behind the activation: g,
 * or 0 where a ReLU was closed; behind GELU it is kept in out. */
#define FLUSH 64 /* runs between two additions in double */
static int sums_job(void *job, size from, size to, int part) {
    const normalising *p = job;
    const size C = p->channels, in_run = rows_in_run(C), L = in_run * C;
    float first[LONGEST_RUN], second[LONGEST_RUN], centre[LONGEST_RUN], scale[LONGEST_RUN],
        shift[LONGEST_RUN];
    double *sums = p->sums + 2 * C * part;
    repeat(centre, p->a, L, C);
    if (p->scale) repeat(scale, p->scale, L, C), repeat(shift, p->shift, L, C);
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
            const bits *restrict y = (const bits *)p->y + (p->activation == RELU ? r * C : 0);
            if (p->activation == GELU) {
                elem *restrict inner = p->out + r * C;
                for (size i = 0; i < length; i++) {
                    float v = widen(g[i]) * gelu_slope(scale[i] * widen(x[i]) + shift[i]);
                    inner[i] = narrow(v);
                    first[i] += v, second[i] += v * (widen(x[i]) - centre[i]);
                }
            } else if (p->activation == RELU)
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
    return DONE;
}

/* out = a·x + b (+ residual), then the activation */
static int scale_job(void *job, size from, size to, int part) {
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
#define SCALE(extra, activation) \
    INDEPENDENT for (size i = 0; i < length; i++) \
        out[i] = narrow(activated(scale[i] * widen(x[i]) + shift[i] + extra, activation));
        if (residual && p->activation == RELU) {
            SCALE(widen(residual[i]), RELU)
        } else if (residual && p->activation == GELU) {
            SCALE(widen(residual[i]), GELU)
        } else if (residual) {
            SCALE(widen(residual[i]), NONE)
        } else if (p->activation == RELU) {
            SCALE(0, RELU)
        } else if (p->activation == GELU) {
            SCALE(0, GELU)
        } else {
            SCALE(0, NONE)
        }
    }
    return DONE;
}

/* dx = a·g' + b·x + c, and the residual's gradient g' */
static int scale_back_job(void *job, size from, size to, int part) {
    const normalising *p = job;
    const size C = p->channels, in_run = rows_in_run(C), L = in_run * C;
    float of_g[LONGEST_RUN], of_x[LONGEST_RUN], shift[LONGEST_RUN];
    (void)part;
    repeat(of_g, p->a, L, C), repeat(of_x, p->b, L, C), repeat(shift, p->c, L, C);
    for (size r = from; r < to; r += in_run) {
        const size length = LEAST(in_run, to - r) * C;
        const elem *restrict x = p->x + r * C, *restrict g = p->g + r * C;
        elem *restrict out = p->out + r * C;
        if (p->activation == GELU)
            for (size i = 0; i < length; i++)
                out[i] = narrow(of_g[i] * widen(out[i]) + of_x[i] * widen(x[i]) + shift[i]);
        else if (p->activation == RELU) {
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
            for (size i = 0; i < length; i++)
                out[i] = narrow(of_g[i] * widen(g[i]) + of_x[i] * widen(x[i]) + shift[i]);
    }
    return DONE;
}

static int summed(normalising *p, int threads, double *total) {
    const int parts = parts_of(p->rows, threads);
    p->sums = calloc(2 * p->channels * parts, sizeof(double));
    if (!p->sums) return OUT_OF_MEMORY;
    share(sums_job, p, p->rows, parts);
    for (size i = 0; i < 2 * p->channels; i++) {
        total[i] = 0;
        for (int part = 0; part < parts; part++) total[i] += p->sums[2 * p->channels * part + i];
    }
    free(p->sums);
    return DONE;
}

/* Means and (biased) variances of the columns. */
API int
moments(const void *x, float *mean, float *variance, size rows, size channels, int threads) {
    float centre[MOST_CHANNELS];
    double total[2 * MOST_CHANNELS];
    for (size c = 0; c < channels; c++)
        centre[c] = widen(((const elem *)x)[c]); /* near the mean: no cancellation in the squares */
    normalising p = {.x = x, .a = centre, .rows = rows, .channels = channels};
    if (summed(&p, threads, total) != DONE) return OUT_OF_MEMORY;
    for (size c = 0; c < channels; c++) {
        double m = total[c] / rows, v = total[channels + c] / rows - m * m;
        mean[c] = (float)(centre[c] + m), variance[c] = (float)(v > 0 || v != v ? v : 0);
    }
    return DONE;
}
API int scale_shift(
    const void *x, const void *residual, void *out, const float *scale, const float *shift,
    size rows, size channels, int activation, int threads
) {
    normalising p = {
        .x = x,
        .residual = residual,
        .out = out,
        .a = scale,
        .b = shift,
        .rows = rows,
        .channels = channels,
        .activation = activation
    };
    return share(scale_job, &p, rows, threads);
}
/* Gradients of normalisation by batch statistics: of x, of weight and bias, and of the residual
   where d_residual is not null (only needed behind ReLU). y is read behind ReLU, scale and shift
   behind GELU, which has no residual. */
API int normalise_back(
    const void *x, const void *y, const void *g, const float *mean, const float *inverse_sd,
    const float *weight, void *dx, void *d_residual, float *d_weight, float *d_bias,
    const float *scale, const float *shift_of_inputs, size rows, size channels, int activation,
    int threads
) {
    float of_g[MOST_CHANNELS], of_x[MOST_CHANNELS], shift[MOST_CHANNELS];
    double total[2 * MOST_CHANNELS];
    normalising p = {
        .x = x,
        .y = y,
        .g = g,
        .out = dx,
        .d_residual = d_residual,
        .a = mean,
        .scale = scale,
        .shift = shift_of_inputs,
        .rows = rows,
        .channels = channels,
        .activation = activation,
    };
    if (summed(&p, threads, total) != DONE) return OUT_OF_MEMORY;
    for (size c = 0; c < channels; c++) {
        double sd = inverse_sd[c], of_weight = total[channels + c] * sd;
        d_bias[c] = (float)total[c], d_weight[c] = (float)of_weight;
        double factor = weight[c] * sd, slope = factor * of_weight / rows * sd;
        of_g[c] = (float)factor, of_x[c] = (float)-slope,
        shift[c] = (float)(slope * mean[c] - factor * total[c] / rows);
    }
    p.a = of_g, p.b = of_x, p.c = shift;
    return share(scale_back_job, &p, rows, threads);
}
