/* 3×3 convolutions of many channels by Winograd's algorithm F(2×2, 3×3): 16 products for four
outputs where the definition takes 36.

Sources: Winograd 1980, Arithmetic Complexity of Computations; Lavin & Gray 2015, arXiv 1509.09308.
Stride 1, a border of zeros of one pixel. A tile is 2×2 outputs and the 4×4 inputs they depend on.
Inputs, filters and outputs are transformed by sums in float; between the transforms are 16 matrix
products, one for each place of a 4×4 tile, of pairs of bfloat16 summed in float. Tiles are worked
off a few rows at a time, so that everything between the transforms stays in the cache.
winograd_float.c holds an algorithm for float. */

#include "common.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__) && !defined(FLOAT32)
#include "winograd.h"

#define FORWARD_BYTES (192 << 10) /* of transformed inputs at a time, about */
#define MOST_TILES 96             /* at a time, forward */
#define WEIGHT_TILES 256          /* at a time, for the gradient of the filters */

API int winograd_ready(void) { return 1; }

/* ---- filters, O×3×3×C in float, as the right side of products ---- */

typedef struct {
    const float *weight;
    uint32_t *u; /* places × (pairs of the channels that are summed over, columns of the others) */
    size in, out;
} filters;

/* Pairs of input channels, columns of output channels. */
static int forward_filters(void *job, size from, size to, int part) {
    const filters *p = job;
    const size vectors = round_up(p->out, LANES) / LANES, steps = p->in / 2,
               plane = steps * vectors * LANES;
    (void)part;
    for (size o = from; o < to; o++) {
        const size start = packed_at(vectors, steps, o / LANES, 0),
                   step = packed_at(vectors, steps, o / LANES, 1) - start;
        for (size c = 0; c < p->in; c += LANES) {
            const size left = LEAST(p->in - c, LANES);
            vec u[4][4];
            filter(p->weight + o * 9 * p->in + c, p->in, lanes_of(left), u, 0);
            UNROLLED for (int place = 0; place < PLACES; place++) {
                uint32_t words[LANES / 2];
                const __m256i pairs = narrowed(u[place / 4][place % 4]);
                memcpy(words, &pairs, sizeof words);
                uint32_t *line = p->u + place * plane + start + o % LANES + c / 2 * step;
                for (size k = 0; k < left / 2; k++) line[k * step] = words[k];
            }
        }
    }
    return DONE;
}

/* Pairs of output channels, columns of input channels; turned by 180°: what carries gradients back.
 */
static int backward_filters(void *job, size from, size to, int part) {
    const filters *p = job;
    const size vectors = round_up(p->in, LANES) / LANES, steps = p->out / 2,
               plane = steps * vectors * LANES;
    (void)part;
    for (size k = from; k < to; k++)
        for (size q = 0; q < vectors; q++) {
            const float *g = p->weight + 2 * k * 9 * p->in + q * LANES;
            const __mmask16 lanes = lanes_of(p->in - q * LANES);
            const size place_of_pair = packed_at(vectors, steps, q, k);
            vec u[4][4], w[4][4];
            filter(g, p->in, lanes, u, 1), filter(g + 9 * p->in, p->in, lanes, w, 1);
            UNROLLED for (int place = 0; place < PLACES; place++)
                _mm512_storeu_si512(
                    p->u + place * plane + place_of_pair,
                    paired(u[place / 4][place % 4], w[place / 4][place % 4])
                );
        }
    return DONE;
}

/* weight: O×3×3×C; u: 16 × C/2 × (O rounded up to 16) words, or 16 × O/2 × (C rounded up) where it
 * is for gradients. */
API int
winograd_filters(const float *weight, uint32_t *u, size in, size out, int backward, int threads) {
    filters p = {weight, u, in, out};
    if (!backward && out % LANES)
        memset(u, 0, (size_t)(PLACES * in / 2 * round_up(out, LANES)) * 4);
    return share(
        backward ? backward_filters : forward_filters, &p, backward ? out / 2 : out, threads
    );
}

/* ---- the convolution, which is its own gradient by the inputs with other filters ---- */

typedef struct {
    const elem *x;
    const uint32_t *u;
    const float *bias;
    elem *y;
    size height, width, in, out, high, across, rows, all_rows; /* high, across: tiles of an image;
                                                                  rows of tiles at a time and in all
                                                                */
} convolution;

static int convolve_part(void *job, size from, size to, int part) {
    const convolution *p = job;
    const size vectors = round_up(p->out, LANES) / LANES, steps = p->in / 2,
               most = p->rows * p->across;
    const size plane = most * p->in + 32, widest = LEAST(vectors, 4) * LANES,
               sum_plane = most * widest + LANES;
    elem *v = reserve(PLACES * plane * (size)sizeof(elem));
    float *m = reserve(PLACES * sum_plane * (size)sizeof(float));
    (void)part;
    if (!v || !m) {
        free(v), free(m);
        return OUT_OF_MEMORY;
    }
    for (size chunk = from; chunk < to; chunk++) {
        const size first = chunk * p->rows, rows = LEAST(p->rows, p->all_rows - first);
        for (size r = 0; r < rows; r++) {
            const band b = band_of(
                p->x, (first + r) / p->high, (first + r) % p->high * 2 - 1, 4, p->height, p->width,
                p->in
            );
            input_tiles(&b, p->across, v + r * p->across * p->in, plane);
        }
        for (size block = 0; block < blocks_of(vectors); block++) {
            const size start = start_of(vectors, block),
                       wide = start_of(vectors, block + 1) - start, o = start * LANES;
            for (int place = 0; place < PLACES; place++)
                multiply_to(
                    wide, (const char *)(v + place * plane), p->in * 2, 4, rows * p->across,
                    p->u + (place * steps * vectors + steps * start) * LANES, steps,
                    m + place * sum_plane, wide * LANES
                );
            for (size r = 0; r < rows; r++) {
                const size image = (first + r) / p->high, line = (first + r) % p->high * 2;
                const target to_map = {
                    p->y + (image * p->height + line) * p->width * p->out + o,
                    p->bias ? p->bias + o : 0,
                    LEAST(2, p->height - line),
                    p->width,
                    p->out,
                    p->out - o,
                };
                output_tiles(&to_map, p->across, wide, m + r * p->across * wide * LANES, sum_plane);
            }
        }
    }
    free(v), free(m);
    return DONE;
}

/* x: N×H×W×C, u: of winograd_filters, bias: O or null, y: N×H×W×O. Channels of both are multiples
 * of 8. */
API int winograd(
    const elem *x, const uint32_t *u, const float *bias, elem *y, size count, size height,
    size width, size in, size out, int threads
) {
    convolution p = {x, u, bias, y, height, width, in, out, (height + 1) / 2, (width + 1) / 2,
                     0, 0};
    const size tiles = LEAST(MOST_TILES, FORWARD_BYTES / (PLACES * 2 * in));
    p.all_rows = count * p.high;
    p.rows = LEAST(p.all_rows, tiles / p.across > 1 ? tiles / p.across : 1);
    return share(convolve_part, &p, (p.all_rows + p.rows - 1) / p.rows, threads);
}

/* ---- the gradient by the filters ---- */

static int weights_part(void *job, size from, size to, int part) {
    const weights *p = job;
    const size vectors = round_up(p->in, LANES) / LANES, out = round_up(p->out, LANES),
               pairs = (p->across + 1) / 2, most = p->rows * pairs;
    const size in_plane = most * vectors * LANES + LANES, out_plane = most * out + LANES,
               columns = vectors * LANES;
    uint32_t *v = reserve(PLACES * in_plane * 4), *d = reserve(PLACES * out_plane * 4);
    if (!v || !d) {
        free(v), free(d);
        return OUT_OF_MEMORY;
    }
    float *du = p->du + part * PLACES * p->out * columns, *sums = p->sums + part * out;
    memset(du, 0, (size_t)(PLACES * p->out * columns) * sizeof(float)),
        memset(sums, 0, (size_t)out * sizeof(float));
    for (size chunk = from; chunk < to; chunk++) {
        const size first = chunk * p->rows, rows = LEAST(p->rows, p->all_rows - first),
                   steps = rows * pairs;
        for (size r = 0; r < rows; r++) {
            const size image = (first + r) / p->high, line = (first + r) % p->high * 2;
            const band inputs = band_of(p->x, image, line - 1, 4, p->height, p->width, p->in),
                       outputs = band_of(p->g, image, line, 2, p->height, p->width, p->out);
            input_pairs(&inputs, pairs, v, in_plane, steps, r * pairs);
            gradient_pairs(&outputs, pairs, d, out_plane, r * pairs, sums);
        }
        for (int place = 0; place < PLACES; place++)
            for (size block = 0; block < blocks_of(vectors); block++) {
                const size start = start_of(vectors, block),
                           wide = start_of(vectors, block + 1) - start;
                multiply_add(
                    wide, (const char *)(d + place * out_plane), 4, out * 4, p->out,
                    v + place * in_plane + steps * start * LANES, steps,
                    du + place * p->out * columns + start * LANES, columns
                );
            }
    }
    free(v), free(d);
    return DONE;
}

/* Gᵀ u G of the parts' sums. */
INLINE void filter_back(vec u0, vec u1, vec u2, vec u3, vec g[3]) {
    const vec half = _mm512_set1_ps(0.5f), both = (u1 + u2) * half;
    g[0] = u0 + both, g[1] = (u1 - u2) * half, g[2] = both + u3;
}
static int weights_back(void *job, size from, size to, int part) {
    const weights *p = job;
    const size columns = round_up(p->in, LANES), whole = PLACES * p->out * columns;
    (void)part;
    for (size o = from; o < to; o++)
        for (size c = 0; c < p->in; c += LANES) {
            const __mmask16 lanes = lanes_of(p->in - c);
            vec t[3][4];
            UNROLLED for (int s = 0; s < 4; s++) {
                vec u[4], g[3];
                UNROLLED for (int r = 0; r < 4; r++) {
                    const float *from_part = p->du + ((4 * r + s) * p->out + o) * columns + c;
                    u[r] = _mm512_loadu_ps(from_part);
                    for (int other = 1; other < p->parts; other++)
                        u[r] += _mm512_loadu_ps(from_part + other * whole);
                }
                filter_back(u[0], u[1], u[2], u[3], g);
                UNROLLED for (int r = 0; r < 3; r++)
                    t[r][s] = g[r];
            }
            UNROLLED for (int r = 0; r < 3; r++) {
                vec g[3];
                filter_back(t[r][0], t[r][1], t[r][2], t[r][3], g);
                UNROLLED for (int s = 0; s < 3; s++)
                    _mm512_mask_storeu_ps(p->dw + (o * 9 + 3 * r + s) * p->in + c, lanes, g[s]);
            }
        }
    return DONE;
}

/* x: N×H×W×C, g: gradient of the outputs, N×H×W×O; dw: O×3×3×C, db: O or null. */
API int winograd_weights(
    const elem *x, const elem *g, float *dw, float *db, size count, size height, size width,
    size in, size out, int threads
) {
    weights p = {x, g, 0, 0, dw, height, width, in, out, (height + 1) / 2, (width + 1) / 2,
                 0, 0, 0};
    const size across = (p.across + 1) / 2 * 2, padded = round_up(out, LANES);
    p.all_rows = count * p.high;
    p.rows = LEAST(p.all_rows, WEIGHT_TILES / across > 1 ? WEIGHT_TILES / across : 1);
    const size chunks = (p.all_rows + p.rows - 1) / p.rows;
    p.parts = parts_of(chunks, threads);
    p.du = reserve(p.parts * PLACES * out * round_up(in, LANES) * (size)sizeof(float));
    p.sums = reserve(p.parts * padded * (size)sizeof(float));
    int status = p.du && p.sums ? share(weights_part, &p, chunks, threads) : OUT_OF_MEMORY;
    if (status == DONE) status = share(weights_back, &p, out, threads);
    if (db && status == DONE) bias_back(&p, db, padded);
    free(p.du), free(p.sums);
    return status;
}

#elif !defined(FLOAT32)
/* never called where winograd_ready says no */
#define UNUSED __attribute__((unused))
API int winograd_ready(void) { return 0; }
API int winograd_filters(
    UNUSED const float *weight, UNUSED uint32_t *u, UNUSED size in, UNUSED size out,
    UNUSED int backward, UNUSED int threads
) {
    return DONE;
}
API int winograd(
    UNUSED const elem *x, UNUSED const uint32_t *u, UNUSED const float *bias, UNUSED elem *y,
    UNUSED size count, UNUSED size height, UNUSED size width, UNUSED size in, UNUSED size out,
    UNUSED int threads
) {
    return DONE;
}
API int winograd_weights(
    UNUSED const elem *x, UNUSED const elem *g, UNUSED float *dw, UNUSED float *db,
    UNUSED size count, UNUSED size height, UNUSED size width, UNUSED size in, UNUSED size out,
    UNUSED int threads
) {
    return DONE;
}
#endif
