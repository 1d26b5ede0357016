/* 3×3 convolutions of many channels by Winograd's algorithm F(2×2, 3×3): 16 products for four outputs where the definition takes 36.

Sources: Winograd 1980, Arithmetic Complexity of Computations; Lavin & Gray 2015, arXiv 1509.09308. Stride 1, a border of zeros of one pixel. A tile is 2×2 outputs
   and the 4×4 inputs they depend on. Inputs, filters and outputs are transformed by sums in float; between the transforms are 16 matrix products, one for each place of
   a 4×4 tile, of pairs of bfloat16 summed in float. Tiles are worked off a few rows at a time, so that everything between the transforms stays in the cache. */

#include "common.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__) && !defined(FLOAT32)
#include <immintrin.h>

API int winograd_ready(void) { return 1; }

typedef __m512 vec;
#define LANES 16
#define PLACES 16
#define FORWARD_BYTES (192 << 10) /* of transformed inputs at a time, about */
#define MOST_TILES 96             /* at a time, forward */
#define WEIGHT_TILES 256          /* at a time, for the gradient of the filters */
#define UNROLLED _Pragma("GCC unroll 12")

INLINE size round_up(size n, size to) { return (n + to - 1) / to * to; }
static void *reserve(size bytes) { return aligned_alloc(64, (size_t)round_up(bytes, 64)); }
INLINE __mmask16 lanes_of(size left) { return left >= LANES ? 0xffff : (__mmask16)((1u << left) - 1); }
INLINE vec widened(const elem *p, __mmask16 lanes) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, p)), 16));
}
INLINE __m256i narrowed(vec v) { return (__m256i)_mm512_cvtneps_pbh(v); }

/* Pairs of bfloat16, of `first` in the lower halves and of `second` in the upper ones. */
INLINE __m512i paired(vec first, vec second) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

/* ---- matrix products: c[i][j] = or += Σ_k a[i][k] · b[k][j], k over pairs. b's columns, in vectors of 16, lie in blocks of up to four vectors. ---- */

INLINE size blocks_of(size vectors) { return (vectors + 3) / 4; }
INLINE size start_of(size vectors, size block) { return vectors * block / blocks_of(vectors); }
INLINE size block_of(size vectors, size vector) {
    size b = 0;
    while (start_of(vectors, b + 1) <= vector) b++;
    return b;
}
/* Where in b the pair k of a vector of columns lies; 32-bit words. */
INLINE size packed_at(size vectors, size steps, size vector, size k) {
    const size b = block_of(vectors, vector), start = start_of(vectors, b), wide = start_of(vectors, b + 1) - start;
    return (steps * start + k * wide + vector - start) * LANES;
}

INLINE void product(const int rows, const int vectors, const char *a, size a_row, size a_step, const uint32_t *b, size steps, float *c, size c_row, const int add) {
    vec sum[12][4];
    UNROLLED for (int i = 0; i < rows; i++) UNROLLED for (int j = 0; j < vectors; j++) sum[i][j] = add ? _mm512_loadu_ps(c + i * c_row + j * LANES) : _mm512_setzero_ps();
    for (size k = 0; k < steps; k++) {
        __m512bh right[4];
        UNROLLED for (int j = 0; j < vectors; j++) right[j] = (__m512bh)_mm512_loadu_si512(b + (k * vectors + j) * LANES);
        UNROLLED for (int i = 0; i < rows; i++) {
            int32_t pair;
            memcpy(&pair, a + i * a_row + k * a_step, 4);
            const __m512bh left = (__m512bh)_mm512_set1_epi32(pair);
            UNROLLED for (int j = 0; j < vectors; j++) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], left, right[j]);
        }
    }
    UNROLLED for (int i = 0; i < rows; i++) UNROLLED for (int j = 0; j < vectors; j++) _mm512_storeu_ps(c + i * c_row + j * LANES, sum[i][j]);
}

INLINE void rows_of_products(const int most, const int vectors, const char *a, size a_row, size a_step, size rows, const uint32_t *b, size steps, float *c, size c_row, const int add) {
    size i = 0;
    for (; i + most <= rows; i += most) product(most, vectors, a + i * a_row, a_row, a_step, b, steps, c + i * c_row, c_row, add);
    for (; i + 4 <= rows; i += 4) product(4, vectors, a + i * a_row, a_row, a_step, b, steps, c + i * c_row, c_row, add);
    for (; i < rows; i++) product(1, vectors, a + i * a_row, a_row, a_step, b, steps, c + i * c_row, c_row, add);
}

INLINE void multiply(size vectors, const char *a, size a_row, size a_step, size rows, const uint32_t *b, size steps, float *c, size c_row, const int add) {
    switch (vectors) { /* 12 to 24 sums in registers */
        case 1: rows_of_products(12, 1, a, a_row, a_step, rows, b, steps, c, c_row, add); break;
        case 2: rows_of_products(12, 2, a, a_row, a_step, rows, b, steps, c, c_row, add); break;
        case 3: rows_of_products(8, 3, a, a_row, a_step, rows, b, steps, c, c_row, add); break;
        default: rows_of_products(6, 4, a, a_row, a_step, rows, b, steps, c, c_row, add);
    }
}
static void multiply_to(size vectors, const char *a, size a_row, size a_step, size rows, const uint32_t *b, size steps, float *c, size c_row) {
    multiply(vectors, a, a_row, a_step, rows, b, steps, c, c_row, 0);
}
static void multiply_add(size vectors, const char *a, size a_row, size a_step, size rows, const uint32_t *b, size steps, float *c, size c_row) {
    multiply(vectors, a, a_row, a_step, rows, b, steps, c, c_row, 1);
}

/* ---- transforms ---- */

/* Four rows of an image, null where they lie outside. */
typedef struct {
    const elem *row[4];
    size width, channels;
} band;

static band band_of(const elem *x, size image, size first_row, int rows, size height, size width, size channels) {
    band b = {{0}, width, channels};
    for (int r = 0; r < rows; r++)
        if (first_row + r >= 0 && first_row + r < height) b.row[r] = x + ((image * height + first_row + r) * width) * channels;
    return b;
}
INLINE vec at(const band *b, int r, size x, size c, __mmask16 lanes) {
    return b->row[r] ? widened(b->row[r] + x * b->channels + c, lanes) : _mm512_setzero_ps();
}

/* Bᵀ d of one column of pixels. */
INLINE void input_column(const band *b, size x, size c, __mmask16 lanes, vec t[4]) {
    if (x < 0 || x >= b->width) {
        t[0] = t[1] = t[2] = t[3] = _mm512_setzero_ps();
        return;
    }
    const vec d0 = at(b, 0, x, c, lanes), d1 = at(b, 1, x, c, lanes), d2 = at(b, 2, x, c, lanes), d3 = at(b, 3, x, c, lanes);
    t[0] = d0 - d2, t[1] = d1 + d2, t[2] = d2 - d1, t[3] = d1 - d3;
}
/* The rest of Bᵀ d B: four columns to a row of the tile. */
INLINE void input_row(vec t0, vec t1, vec t2, vec t3, vec u[4]) { u[0] = t0 - t2, u[1] = t1 + t2, u[2] = t2 - t1, u[3] = t1 - t3; }

/* A row of tiles of inputs to `v`: places × tiles × channels, `plane` elements from place to place. */
static void input_tiles(const band *b, size across, elem *v, size plane) {
    for (size c = 0; c < b->channels; c += LANES) {
        const __mmask16 lanes = lanes_of(b->channels - c);
        vec t[4][4];
        input_column(b, -1, c, lanes, t[0]), input_column(b, 0, c, lanes, t[1]);
        for (size j = 0; j < across; j++) {
            input_column(b, 2 * j + 1, c, lanes, t[2]), input_column(b, 2 * j + 2, c, lanes, t[3]);
            UNROLLED for (int r = 0; r < 4; r++) {
                vec u[4];
                input_row(t[0][r], t[1][r], t[2][r], t[3][r], u);
                UNROLLED for (int s = 0; s < 4; s++) _mm256_mask_storeu_epi16(v + (4 * r + s) * plane + j * b->channels + c, lanes, narrowed(u[s]));
            }
            UNROLLED for (int r = 0; r < 4; r++) t[0][r] = t[2][r], t[1][r] = t[3][r];
        }
    }
}

/* The same as pairs of neighbouring tiles, as the right side of products: pairs k0 … of a matrix of `steps` pairs. */
static void input_pairs(const band *b, size pairs, uint32_t *v, size plane, size steps, size k0) {
    const size vectors = round_up(b->channels, LANES) / LANES;
    for (size q = 0; q < vectors; q++) {
        const size c = q * LANES, from = packed_at(vectors, steps, q, 0), step = packed_at(vectors, steps, q, 1) - from;
        const __mmask16 lanes = lanes_of(b->channels - c);
        vec t[6][4];
        input_column(b, -1, c, lanes, t[0]), input_column(b, 0, c, lanes, t[1]);
        for (size k = 0; k < pairs; k++) {
            for (int i = 0; i < 4; i++) input_column(b, 4 * k + 1 + i, c, lanes, t[2 + i]);
            UNROLLED for (int r = 0; r < 4; r++) {
                vec u[4], w[4];
                input_row(t[0][r], t[1][r], t[2][r], t[3][r], u), input_row(t[2][r], t[3][r], t[4][r], t[5][r], w);
                UNROLLED for (int s = 0; s < 4; s++) _mm512_storeu_si512(v + (4 * r + s) * plane + from + (k0 + k) * step, paired(u[s], w[s]));
            }
            UNROLLED for (int r = 0; r < 4; r++) t[0][r] = t[4][r], t[1][r] = t[5][r];
        }
    }
}

/* A e Aᵀ of gradients of outputs, as pairs of neighbouring tiles: places × pairs × channels (padded). Adds the sum of the gradients to `sums`. */
INLINE void gradient_column(const band *b, size x, size c, __mmask16 lanes, vec t[4]) {
    if (x >= b->width) {
        t[0] = t[1] = t[2] = t[3] = _mm512_setzero_ps();
        return;
    }
    const vec d0 = at(b, 0, x, c, lanes), d1 = at(b, 1, x, c, lanes);
    t[0] = d0, t[1] = d0 + d1, t[2] = d0 - d1, t[3] = -d1;
}
INLINE void gradient_row(vec t0, vec t1, vec u[4]) { u[0] = t0, u[1] = t0 + t1, u[2] = t0 - t1, u[3] = -t1; }

static void gradient_pairs(const band *b, size pairs, uint32_t *d, size plane, size k0, float *sums) {
    const size padded = round_up(b->channels, LANES);
    for (size c = 0; c < padded; c += LANES) {
        const __mmask16 lanes = lanes_of(b->channels - c);
        vec total = _mm512_setzero_ps();
        for (size k = 0; k < pairs; k++) {
            vec t[4][4];
            for (int i = 0; i < 4; i++) gradient_column(b, 4 * k + i, c, lanes, t[i]);
            UNROLLED for (int r = 0; r < 4; r++) {
                vec u[4], w[4];
                gradient_row(t[0][r], t[1][r], u), gradient_row(t[2][r], t[3][r], w);
                if (r == 1) total += u[1] + w[1];
                UNROLLED for (int s = 0; s < 4; s++) _mm512_storeu_si512(d + (4 * r + s) * plane + (k0 + k) * padded + c, paired(u[s], w[s]));
            }
        }
        _mm512_storeu_ps(sums + c, _mm512_loadu_ps(sums + c) + total);
    }
}

/* Aᵀ m A of a row of tiles to the map, with the bias; `m`: places × tiles × 16·vectors, `plane` floats from place to place. */
typedef struct {
    elem *y; /* first row of the tiles' outputs, at the block's first channel */
    const float *bias;
    size rows, width, channels, left; /* left: channels from the block's first on */
} target;
static void output_tiles(const target *to, size across, size vectors, const float *m, size plane) {
    for (size j = 0; j < across; j++)
        for (size q = 0; q < vectors; q++) {
            const float *from = m + (j * vectors + q) * LANES;
            const __mmask16 lanes = lanes_of(to->left - q * LANES);
            const vec bias = to->bias ? _mm512_maskz_loadu_ps(lanes, to->bias + q * LANES) : _mm512_setzero_ps();
            vec y[2][4];
            UNROLLED for (int s = 0; s < 4; s++) {
                const vec m0 = _mm512_loadu_ps(from + s * plane), m1 = _mm512_loadu_ps(from + (4 + s) * plane), m2 = _mm512_loadu_ps(from + (8 + s) * plane),
                          m3 = _mm512_loadu_ps(from + (12 + s) * plane);
                y[0][s] = m0 + m1 + m2, y[1][s] = m1 - m2 - m3;
            }
            for (int r = 0; r < to->rows; r++) {
                elem *out = to->y + (r * to->width + 2 * j) * to->channels + q * LANES;
                _mm256_mask_storeu_epi16(out, lanes, narrowed(y[r][0] + y[r][1] + y[r][2] + bias));
                if (2 * j + 1 < to->width) _mm256_mask_storeu_epi16(out + to->channels, lanes, narrowed(y[r][1] - y[r][2] - y[r][3] + bias));
            }
        }
}

/* G g Gᵀ of 16 channels of a filter O×3×3×C; turned by 180° where `turned`. */
INLINE void filter_line(vec g0, vec g1, vec g2, vec u[4]) {
    const vec half = _mm512_set1_ps(0.5f), ends = (g0 + g2) * half, middle = g1 * half;
    u[0] = g0, u[1] = ends + middle, u[2] = ends - middle, u[3] = g2;
}
INLINE void filter(const float *g, size channels, __mmask16 lanes, vec u[4][4], const int turned) {
    vec t[3][4], line[4];
    UNROLLED for (int s = 0; s < 3; s++) {
        vec d[3];
        UNROLLED for (int r = 0; r < 3; r++) d[r] = _mm512_maskz_loadu_ps(lanes, g + (3 * (turned ? 2 - r : r) + (turned ? 2 - s : s)) * channels);
        filter_line(d[0], d[1], d[2], t[s]);
    }
    UNROLLED for (int r = 0; r < 4; r++) {
        filter_line(t[0][r], t[1][r], t[2][r], line);
        UNROLLED for (int s = 0; s < 4; s++) u[r][s] = line[s];
    }
}

/* ---- filters, O×3×3×C in float, as the right side of products ---- */

typedef struct {
    const float *weight;
    uint32_t *u; /* places × (pairs of the channels that are summed over, columns of the others) */
    size in, out;
} filters;

/* Pairs of input channels, columns of output channels. */
static void forward_filters(void *job, size from, size to, int part) {
    const filters *p = job;
    const size vectors = round_up(p->out, LANES) / LANES, steps = p->in / 2, plane = steps * vectors * LANES;
    (void)part;
    for (size o = from; o < to; o++) {
        const size start = packed_at(vectors, steps, o / LANES, 0), step = packed_at(vectors, steps, o / LANES, 1) - start;
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
}

/* Pairs of output channels, columns of input channels; turned by 180°: what carries gradients back. */
static void backward_filters(void *job, size from, size to, int part) {
    const filters *p = job;
    const size vectors = round_up(p->in, LANES) / LANES, steps = p->out / 2, plane = steps * vectors * LANES;
    (void)part;
    for (size k = from; k < to; k++)
        for (size q = 0; q < vectors; q++) {
            const float *g = p->weight + 2 * k * 9 * p->in + q * LANES;
            const __mmask16 lanes = lanes_of(p->in - q * LANES);
            const size place_of_pair = packed_at(vectors, steps, q, k);
            vec u[4][4], w[4][4];
            filter(g, p->in, lanes, u, 1), filter(g + 9 * p->in, p->in, lanes, w, 1);
            UNROLLED for (int place = 0; place < PLACES; place++)
                _mm512_storeu_si512(p->u + place * plane + place_of_pair, paired(u[place / 4][place % 4], w[place / 4][place % 4]));
        }
}

/* weight: O×3×3×C; u: 16 × C/2 × (O rounded up to 16) words, or 16 × O/2 × (C rounded up) where it is for gradients. */
API void winograd_filters(const float *weight, uint32_t *u, size in, size out, int backward, int threads) {
    filters p = {weight, u, in, out};
    if (!backward && out % LANES) memset(u, 0, (size_t)(PLACES * in / 2 * round_up(out, LANES)) * 4);
    share(backward ? backward_filters : forward_filters, &p, backward ? out / 2 : out, threads);
}

/* ---- the convolution, which is its own gradient by the inputs with other filters ---- */

typedef struct {
    const elem *x;
    const uint32_t *u;
    const float *bias;
    elem *y;
    size height, width, in, out, high, across, rows, all_rows; /* high, across: tiles of an image; rows of tiles at a time and in all */
} convolution;

static void convolve_part(void *job, size from, size to, int part) {
    const convolution *p = job;
    const size vectors = round_up(p->out, LANES) / LANES, steps = p->in / 2, most = p->rows * p->across;
    const size plane = most * p->in + 32, widest = LEAST(vectors, 4) * LANES, sum_plane = most * widest + LANES;
    elem *v = reserve(PLACES * plane * (size)sizeof(elem));
    float *m = reserve(PLACES * sum_plane * (size)sizeof(float));
    (void)part;
    for (size chunk = from; chunk < to; chunk++) {
        const size first = chunk * p->rows, rows = LEAST(p->rows, p->all_rows - first);
        for (size r = 0; r < rows; r++) {
            const band b = band_of(p->x, (first + r) / p->high, (first + r) % p->high * 2 - 1, 4, p->height, p->width, p->in);
            input_tiles(&b, p->across, v + r * p->across * p->in, plane);
        }
        for (size block = 0; block < blocks_of(vectors); block++) {
            const size start = start_of(vectors, block), wide = start_of(vectors, block + 1) - start, o = start * LANES;
            for (int place = 0; place < PLACES; place++)
                multiply_to(
                    wide, (const char *)(v + place * plane), p->in * 2, 4, rows * p->across, p->u + (place * steps * vectors + steps * start) * LANES, steps,
                    m + place * sum_plane, wide * LANES
                );
            for (size r = 0; r < rows; r++) {
                const size image = (first + r) / p->high, line = (first + r) % p->high * 2;
                const target to_map = {
                    p->y + (image * p->height + line) * p->width * p->out + o, p->bias ? p->bias + o : 0, LEAST(2, p->height - line), p->width, p->out, p->out - o,
                };
                output_tiles(&to_map, p->across, wide, m + r * p->across * wide * LANES, sum_plane);
            }
        }
    }
    free(v), free(m);
}

/* x: N×H×W×C, u: of winograd_filters, bias: O or null, y: N×H×W×O. Channels of both are multiples of 8. */
API void winograd(const elem *x, const uint32_t *u, const float *bias, elem *y, size count, size height, size width, size in, size out, int threads) {
    convolution p = {x, u, bias, y, height, width, in, out, (height + 1) / 2, (width + 1) / 2, 0, 0};
    const size tiles = LEAST(MOST_TILES, FORWARD_BYTES / (PLACES * 2 * in));
    p.all_rows = count * p.high;
    p.rows = LEAST(p.all_rows, tiles / p.across > 1 ? tiles / p.across : 1);
    share(convolve_part, &p, (p.all_rows + p.rows - 1) / p.rows, threads);
}

/* ---- the gradient by the filters ---- */

typedef struct {
    const elem *x, *g;
    float *du;   /* for each part places × O × (C rounded up) */
    float *sums; /* for each part O rounded up: of the bias */
    float *dw;
    size height, width, in, out, high, across, rows, all_rows;
    int parts;
} weights;

static void weights_part(void *job, size from, size to, int part) {
    const weights *p = job;
    const size vectors = round_up(p->in, LANES) / LANES, out = round_up(p->out, LANES), pairs = (p->across + 1) / 2, most = p->rows * pairs;
    const size in_plane = most * vectors * LANES + LANES, out_plane = most * out + LANES, columns = vectors * LANES;
    uint32_t *v = reserve(PLACES * in_plane * 4), *d = reserve(PLACES * out_plane * 4);
    float *du = p->du + part * PLACES * p->out * columns, *sums = p->sums + part * out;
    memset(du, 0, (size_t)(PLACES * p->out * columns) * sizeof(float)), memset(sums, 0, (size_t)out * sizeof(float));
    for (size chunk = from; chunk < to; chunk++) {
        const size first = chunk * p->rows, rows = LEAST(p->rows, p->all_rows - first), steps = rows * pairs;
        for (size r = 0; r < rows; r++) {
            const size image = (first + r) / p->high, line = (first + r) % p->high * 2;
            const band inputs = band_of(p->x, image, line - 1, 4, p->height, p->width, p->in), outputs = band_of(p->g, image, line, 2, p->height, p->width, p->out);
            input_pairs(&inputs, pairs, v, in_plane, steps, r * pairs);
            gradient_pairs(&outputs, pairs, d, out_plane, r * pairs, sums);
        }
        for (int place = 0; place < PLACES; place++)
            for (size block = 0; block < blocks_of(vectors); block++) {
                const size start = start_of(vectors, block), wide = start_of(vectors, block + 1) - start;
                multiply_add(
                    wide, (const char *)(d + place * out_plane), 4, out * 4, p->out, v + place * in_plane + steps * start * LANES, steps,
                    du + place * p->out * columns + start * LANES, columns
                );
            }
    }
    free(v), free(d);
}

/* Gᵀ u G of the parts' sums. */
INLINE void filter_back(vec u0, vec u1, vec u2, vec u3, vec g[3]) {
    const vec half = _mm512_set1_ps(0.5f), both = (u1 + u2) * half;
    g[0] = u0 + both, g[1] = (u1 - u2) * half, g[2] = both + u3;
}
static void weights_back(void *job, size from, size to, int part) {
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
                    for (int other = 1; other < p->parts; other++) u[r] += _mm512_loadu_ps(from_part + other * whole);
                }
                filter_back(u[0], u[1], u[2], u[3], g);
                UNROLLED for (int r = 0; r < 3; r++) t[r][s] = g[r];
            }
            UNROLLED for (int r = 0; r < 3; r++) {
                vec g[3];
                filter_back(t[r][0], t[r][1], t[r][2], t[r][3], g);
                UNROLLED for (int s = 0; s < 3; s++) _mm512_mask_storeu_ps(p->dw + (o * 9 + 3 * r + s) * p->in + c, lanes, g[s]);
            }
        }
}

/* x: N×H×W×C, g: gradient of the outputs, N×H×W×O; dw: O×3×3×C, db: O or null. */
API void winograd_weights(const elem *x, const elem *g, float *dw, float *db, size count, size height, size width, size in, size out, int threads) {
    weights p = {x, g, 0, 0, dw, height, width, in, out, (height + 1) / 2, (width + 1) / 2, 0, 0, 0};
    const size across = (p.across + 1) / 2 * 2, padded = round_up(out, LANES);
    p.all_rows = count * p.high;
    p.rows = LEAST(p.all_rows, WEIGHT_TILES / across > 1 ? WEIGHT_TILES / across : 1);
    const size chunks = (p.all_rows + p.rows - 1) / p.rows;
    p.parts = parts_of(chunks, threads);
    p.du = reserve(p.parts * PLACES * out * round_up(in, LANES) * (size)sizeof(float)), p.sums = reserve(p.parts * padded * (size)sizeof(float));
    share(weights_part, &p, chunks, threads);
    share(weights_back, &p, out, threads);
    if (db)
        for (size o = 0; o < out; o++) {
            db[o] = 0;
            for (int part = 0; part < p.parts; part++) db[o] += p.sums[part * padded + o];
        }
    free(p.du), free(p.sums);
}

#else
API int winograd_ready(void) { return 0; }
API void winograd_filters(const float *weight, uint32_t *u, size in, size out, int backward, int threads) { (void)weight, (void)u, (void)in, (void)out, (void)backward, (void)threads; }
API void winograd(const elem *x, const uint32_t *u, const float *bias, elem *y, size count, size height, size width, size in, size out, int threads) {
    (void)x, (void)u, (void)bias, (void)y, (void)count, (void)height, (void)width, (void)in, (void)out, (void)threads;
}
API void winograd_weights(const elem *x, const elem *g, float *dw, float *db, size count, size height, size width, size in, size out, int threads) {
    (void)x, (void)g, (void)dw, (void)db, (void)count, (void)height, (void)width, (void)in, (void)out, (void)threads;
}
#endif
