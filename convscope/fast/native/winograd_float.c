/* 3×3 convolutions of many channels in float, by Winograd's algorithm F(4×4, 3×3): 36 products for
sixteen outputs where the definition takes 144.

Sources: Winograd 1980, Arithmetic Complexity of Computations; Lavin & Gray 2015, arXiv 1509.09308.
Stride 1, a border of zeros of one pixel. Inputs, filters and outputs are transformed by sums;
between the transforms are 36 matrix products, one for each place of a 6×6 tile. Tiles are worked
off some rows at a time, so that everything between the transforms stays in the cache. winograd.c
holds the same for bfloat16. */

#include "common.h"

#ifdef FLOAT32
#include "winograd_float.h"

#define FORWARD_FLOATS (64 << 10) /* of transformed inputs and outputs at a time, about */
#define FEWEST_TILES 24           /* at a time, forward */
#define WEIGHT_TILES 64           /* at a time, for the gradient of the filters */
#define PAD 16                    /* floats between planes, which must not share cache sets */

API int winograd_ready(void) { return 1; }

/* ---- filters, O×3×3×C, as the right side of products ---- */

typedef struct {
    const float *weight;
    float *u; /* places × blocks of columns × channels summed over × columns of the block */
    size in, out;
} filters;

/* Summed over input channels, columns of output channels. */
static int forward_filters(void *job, size from, size to, int part) {
    const filters *p = job;
    const size vectors = round_up(p->out, LANES) / LANES, plane = p->in * vectors * LANES;
    (void)part;
    for (size o = from; o < to; o++) {
        const size start = o / (LANES * BLOCK) * BLOCK, wide = wide_of(vectors, start) * LANES;
        float *column = p->u + start * LANES * p->in + o - start * LANES;
        for (size c = 0; c < p->in; c += LANES) {
            const size left = LEAST(p->in - c, LANES);
            vec u[SPAN][SPAN];
            filter(p->weight + o * 9 * p->in + c, p->in, left, u, 0);
            for (int place = 0; place < PLACES; place++)
                for (size k = 0; k < left; k++)
                    column[place * plane + (c + k) * wide] = u[place / SPAN][place % SPAN][k];
        }
    }
    return DONE;
}

/* Summed over output channels, columns of input channels; turned by 180°: what carries gradients
 * back. */
static int backward_filters(void *job, size from, size to, int part) {
    const filters *p = job;
    const size vectors = round_up(p->in, LANES) / LANES, plane = p->out * vectors * LANES;
    (void)part;
    for (size o = from; o < to; o++)
        for (size q = 0; q < vectors; q++) {
            const size start = q / BLOCK * BLOCK, wide = wide_of(vectors, start) * LANES;
            float *line = p->u + start * LANES * p->out + o * wide + (q - start) * LANES;
            vec u[SPAN][SPAN];
            filter(p->weight + o * 9 * p->in + q * LANES, p->in, p->in - q * LANES, u, 1);
            UNROLLED for (int r = 0; r < SPAN; r++) UNROLLED
                for (int s = 0; s < SPAN; s++) store(line + (SPAN * r + s) * plane, u[r][s]);
        }
    return DONE;
}

/* weight: O×3×3×C; u: 36 × C × (O rounded up to 8), or 36 × O × (C rounded up) where it is for
 * gradients. */
API int
winograd_filters(const float *weight, float *u, size in, size out, int backward, int threads) {
    filters p = {weight, u, in, out};
    if (!backward && out % LANES)
        memset(u, 0, (size_t)(PLACES * in * round_up(out, LANES)) * sizeof(float));
    return share(backward ? backward_filters : forward_filters, &p, out, threads);
}

/* ---- the convolution, which is its own gradient by the inputs with other filters ---- */

typedef struct {
    const float *x, *u, *bias;
    float *y;
    size height, width, in, out, high, across, rows, all_rows; /* high, across: tiles of an image;
                                                                  rows of tiles at a time and in all
                                                                */
} convolution;

static void convolve_rows(const convolution *p, size first, size rows, float *v, float *m) {
    const size vectors = round_up(p->out, LANES) / LANES, padded = round_up(p->in, LANES),
               most = p->rows * p->across, plane = most * padded + PAD,
               sum_plane = most * BLOCK * LANES + PAD;
    for (size r = 0; r < rows; r++) {
        const size image = (first + r) / p->high, line = (first + r) % p->high * TILE;
        const band b = band_of(p->x, image, line - 1, SPAN, p->height, p->width, p->in);
        for (size c = 0; c < p->in; c += LANES)
            input_tiles(&b, p->across, c, v + r * p->across * padded + c, plane, padded);
    }
    for (size start = 0; start < vectors; start += BLOCK) {
        const size wide = wide_of(vectors, start), o = start * LANES;
        for (int place = 0; place < PLACES; place++)
            multiply_to(
                wide, v + place * plane, padded, 1, rows * p->across,
                p->u + (place * vectors + start) * LANES * p->in, p->in, m + place * sum_plane,
                wide * LANES
            );
        for (size r = 0; r < rows; r++) {
            const size image = (first + r) / p->high, line = (first + r) % p->high * TILE;
            const target to_map = {
                p->y + (image * p->height + line) * p->width * p->out + o,
                p->bias ? p->bias + o : 0,
                LEAST(TILE, p->height - line),
                p->width,
                p->out,
                p->out - o,
            };
            output_tiles(&to_map, p->across, wide, m + r * p->across * wide * LANES, sum_plane);
        }
    }
}

static int convolve_part(void *job, size from, size to, int part) {
    const convolution *p = job;
    const size most = p->rows * p->across;
    float *v = reserve(PLACES * (most * round_up(p->in, LANES) + PAD)),
          *m = reserve(PLACES * (most * BLOCK * LANES + PAD));
    (void)part;
    if (v && m)
        for (size chunk = from; chunk < to; chunk++) {
            const size first = chunk * p->rows;
            convolve_rows(p, first, LEAST(p->rows, p->all_rows - first), v, m);
        }
    const int status = v && m ? DONE : OUT_OF_MEMORY;
    free(v), free(m);
    return status;
}

/* x: N×H×W×C, u: of winograd_filters, bias: O or null, y: N×H×W×O. */
API int winograd(
    const float *x, const float *u, const float *bias, float *y, size count, size height,
    size width, size in, size out, int threads
) {
    convolution p = {x,   u, bias, y, height, width, in, out, (height + TILE - 1) / TILE,
                     (width + TILE - 1) / TILE,
                     0,   0};
    const size fit = FORWARD_FLOATS / (PLACES * (round_up(in, LANES) + BLOCK * LANES)),
               tiles = fit > FEWEST_TILES ? fit : FEWEST_TILES;
    p.all_rows = count * p.high;
    p.rows = LEAST(p.all_rows, tiles / p.across > 1 ? tiles / p.across : 1);
    return share(convolve_part, &p, (p.all_rows + p.rows - 1) / p.rows, threads);
}

/* ---- the gradient by the filters ---- */

static void weights_rows(
    const weights *p, size first, size rows, float *v, float *d, float *du, float *sums
) {
    const size columns = round_up(p->in, LANES), padded = round_up(p->out, LANES),
               vectors = columns / LANES, most = p->rows * p->across, tiles = rows * p->across,
               in_plane = most * columns + PAD, out_plane = most * padded + PAD;
    for (size r = 0; r < rows; r++) {
        const size image = (first + r) / p->high, line = (first + r) % p->high * TILE,
                   k = r * p->across;
        const band inputs = band_of(p->x, image, line - 1, SPAN, p->height, p->width, p->in),
                   outputs = band_of(p->g, image, line, TILE, p->height, p->width, p->out);
        for (size q = 0; q < vectors; q++) {
            const size start = q / BLOCK * BLOCK, wide = wide_of(vectors, start) * LANES;
            float *place = v + start * LANES * tiles + k * wide + (q - start) * LANES;
            input_tiles(&inputs, p->across, q * LANES, place, in_plane, wide);
        }
        for (size o = 0; o < padded; o += LANES) {
            const vec sum =
                gradient_tiles(&outputs, p->across, o, d + k * padded + o, out_plane, padded);
            store(sums + o, load(sums + o) + sum);
        }
    }
    for (int place = 0; place < PLACES; place++)
        for (size start = 0; start < vectors; start += BLOCK)
            multiply_add(
                wide_of(vectors, start), d + place * out_plane, 1, padded, p->out,
                v + place * in_plane + start * LANES * tiles, tiles,
                du + place * p->out * columns + start * LANES, columns
            );
}

static int weights_part(void *job, size from, size to, int part) {
    const weights *p = job;
    const size columns = round_up(p->in, LANES), padded = round_up(p->out, LANES),
               most = p->rows * p->across, whole = PLACES * p->out * columns;
    float *v = reserve(PLACES * (most * columns + PAD)),
          *d = reserve(PLACES * (most * padded + PAD)), *du = p->du + part * whole,
          *sums = p->sums + part * padded;
    memset(du, 0, (size_t)whole * sizeof(float)), memset(sums, 0, (size_t)padded * sizeof(float));
    if (v && d)
        for (size chunk = from; chunk < to; chunk++) {
            const size first = chunk * p->rows;
            weights_rows(p, first, LEAST(p->rows, p->all_rows - first), v, d, du, sums);
        }
    const int status = v && d ? DONE : OUT_OF_MEMORY;
    free(v), free(d);
    return status;
}

/* Gᵀ u G of the parts' sums. */
static int weights_back(void *job, size from, size to, int part) {
    const weights *p = job;
    const size columns = round_up(p->in, LANES), whole = PLACES * p->out * columns;
    (void)part;
    for (size o = from; o < to; o++)
        for (size c = 0; c < p->in; c += LANES) {
            vec t[3][SPAN];
            UNROLLED for (int s = 0; s < SPAN; s++) {
                vec u[SPAN], g[3];
                UNROLLED for (int r = 0; r < SPAN; r++) {
                    const float *from_part = p->du + ((SPAN * r + s) * p->out + o) * columns + c;
                    u[r] = load(from_part);
                    for (int other = 1; other < p->parts; other++)
                        u[r] += load(from_part + other * whole);
                }
                filter_back_line(u, g);
                UNROLLED for (int r = 0; r < 3; r++)
                    t[r][s] = g[r];
            }
            UNROLLED for (int r = 0; r < 3; r++) {
                vec g[3];
                filter_back_line(t[r], g);
                UNROLLED for (int s = 0; s < 3; s++)
                    store_part(p->dw + (o * 9 + 3 * r + s) * p->in + c, g[s], p->in - c);
            }
        }
    return DONE;
}

/* x: N×H×W×C, g: gradient of the outputs, N×H×W×O; dw: O×3×3×C, db: O or null. */
API int winograd_weights(
    const float *x, const float *g, float *dw, float *db, size count, size height, size width,
    size in, size out, int threads
) {
    weights p = {x, g, 0, 0, dw, height, width, in, out, (height + TILE - 1) / TILE,
                 (width + TILE - 1) / TILE,
                 0, 0, 0};
    const size padded = round_up(out, LANES);
    p.all_rows = count * p.high;
    p.rows = LEAST(p.all_rows, WEIGHT_TILES / p.across > 1 ? WEIGHT_TILES / p.across : 1);
    const size chunks = (p.all_rows + p.rows - 1) / p.rows;
    p.parts = parts_of(chunks, threads);
    p.du = reserve(p.parts * PLACES * out * round_up(in, LANES));
    p.sums = reserve(p.parts * padded);
    int status = p.du && p.sums ? share(weights_part, &p, chunks, threads) : OUT_OF_MEMORY;
    if (status == DONE) status = share(weights_back, &p, out, threads);
    if (db && status == DONE) bias_back(&p, db, padded);
    free(p.du), free(p.sums);
    return status;
}
#endif
