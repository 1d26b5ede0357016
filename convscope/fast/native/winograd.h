#pragma once
/* Matrix products of pairs of bfloat16, and the transforms of Winograd's algorithm F(2×2, 3×3), by
 * AVX-512 BF16. */

#define SPAN 4

#include "tiles.h"
#include <immintrin.h>

typedef __m512 vec;
#define LANES 16
#define PLACES 16
#define UNROLLED _Pragma("GCC unroll 12")

static void *reserve(size bytes) { return aligned_alloc(64, (size_t)round_up(bytes, 64)); }
INLINE __mmask16 lanes_of(size left) {
    return left >= LANES ? 0xffff : (__mmask16)((1u << left) - 1);
}
INLINE vec widened(const elem *p, __mmask16 lanes) {
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, p)), 16)
    );
}
INLINE __m256i narrowed(vec v) { return (__m256i)_mm512_cvtneps_pbh(v); }

/* Pairs of bfloat16, of `first` in the lower halves and of `second` in the upper ones. */
INLINE __m512i paired(vec first, vec second) {
    const __m512i order = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
        19, 3, 18, 2, 17, 1, 16, 0
    );
    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

/* ---- matrix products: c[i][j] = or += Σ_k a[i][k] · b[k][j], k over pairs. b's columns, in
 * vectors of 16, lie in blocks of up to four vectors. ---- */

INLINE size blocks_of(size vectors) { return (vectors + 3) / 4; }
INLINE size start_of(size vectors, size block) { return vectors * block / blocks_of(vectors); }
INLINE size block_of(size vectors, size vector) {
    size b = 0;
    while (start_of(vectors, b + 1) <= vector) b++;
    return b;
}
/* Where in b the pair k of a vector of columns lies; 32-bit words. */
INLINE size packed_at(size vectors, size steps, size vector, size k) {
    const size b = block_of(vectors, vector), start = start_of(vectors, b),
               wide = start_of(vectors, b + 1) - start;
    return (steps * start + k * wide + vector - start) * LANES;
}

INLINE void product(
    const int rows, const int vectors, const char *a, size a_row, size a_step, const uint32_t *b,
    size steps, float *c, size c_row, const int add
) {
    vec sum[12][4];
    UNROLLED for (int i = 0; i < rows; i++) UNROLLED
        for (int j = 0; j < vectors; j++)
            sum[i][j] = add ? _mm512_loadu_ps(c + i * c_row + j * LANES) : _mm512_setzero_ps();
    for (size k = 0; k < steps; k++) {
        __m512bh right[4];
        UNROLLED for (int j = 0; j < vectors; j++)
            right[j] = (__m512bh)_mm512_loadu_si512(b + (k * vectors + j) * LANES);
        UNROLLED for (int i = 0; i < rows; i++) {
            int32_t pair;
            memcpy(&pair, a + i * a_row + k * a_step, 4);
            const __m512bh left = (__m512bh)_mm512_set1_epi32(pair);
            UNROLLED for (int j = 0; j < vectors; j++)
                sum[i][j] = _mm512_dpbf16_ps(sum[i][j], left, right[j]);
        }
    }
    UNROLLED for (int i = 0; i < rows; i++) UNROLLED
        for (int j = 0; j < vectors; j++) _mm512_storeu_ps(c + i * c_row + j * LANES, sum[i][j]);
}

INLINE void rows_of_products(
    const int most, const int vectors, const char *a, size a_row, size a_step, size rows,
    const uint32_t *b, size steps, float *c, size c_row, const int add
) {
    size i = 0;
    for (; i + most <= rows; i += most)
        product(most, vectors, a + i * a_row, a_row, a_step, b, steps, c + i * c_row, c_row, add);
    for (; i + 4 <= rows; i += 4)
        product(4, vectors, a + i * a_row, a_row, a_step, b, steps, c + i * c_row, c_row, add);
    for (; i < rows; i++)
        product(1, vectors, a + i * a_row, a_row, a_step, b, steps, c + i * c_row, c_row, add);
}

INLINE void multiply(
    size vectors, const char *a, size a_row, size a_step, size rows, const uint32_t *b, size steps,
    float *c, size c_row, const int add
) {
    switch (vectors) { /* 12 to 24 sums in registers */
    case 1: rows_of_products(12, 1, a, a_row, a_step, rows, b, steps, c, c_row, add); break;
    case 2: rows_of_products(12, 2, a, a_row, a_step, rows, b, steps, c, c_row, add); break;
    case 3: rows_of_products(8, 3, a, a_row, a_step, rows, b, steps, c, c_row, add); break;
    default: rows_of_products(6, 4, a, a_row, a_step, rows, b, steps, c, c_row, add);
    }
}
static void multiply_to(
    size vectors, const char *a, size a_row, size a_step, size rows, const uint32_t *b, size steps,
    float *c, size c_row
) {
    multiply(vectors, a, a_row, a_step, rows, b, steps, c, c_row, 0);
}
static void multiply_add(
    size vectors, const char *a, size a_row, size a_step, size rows, const uint32_t *b, size steps,
    float *c, size c_row
) {
    multiply(vectors, a, a_row, a_step, rows, b, steps, c, c_row, 1);
}

/* ---- transforms ---- */

INLINE vec at(const band *b, int r, size x, size c, __mmask16 lanes) {
    return b->row[r] ? widened(b->row[r] + x * b->channels + c, lanes) : _mm512_setzero_ps();
}

/* Bᵀ d of one column of pixels. */
INLINE void input_column(const band *b, size x, size c, __mmask16 lanes, vec t[4]) {
    if (x < 0 || x >= b->width) {
        t[0] = t[1] = t[2] = t[3] = _mm512_setzero_ps();
        return;
    }
    const vec d0 = at(b, 0, x, c, lanes), d1 = at(b, 1, x, c, lanes), d2 = at(b, 2, x, c, lanes),
              d3 = at(b, 3, x, c, lanes);
    t[0] = d0 - d2, t[1] = d1 + d2, t[2] = d2 - d1, t[3] = d1 - d3;
}
/* The rest of Bᵀ d B: four columns to a row of the tile. */
INLINE void input_row(vec t0, vec t1, vec t2, vec t3, vec u[4]) {
    u[0] = t0 - t2, u[1] = t1 + t2, u[2] = t2 - t1, u[3] = t1 - t3;
}

/* A row of tiles of inputs to `v`: places × tiles × channels, `plane` elements from place to place.
 */
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
                UNROLLED for (int s = 0; s < 4; s++)
                    _mm256_mask_storeu_epi16(
                        v + (4 * r + s) * plane + j * b->channels + c, lanes, narrowed(u[s])
                    );
            }
            UNROLLED for (int r = 0; r < 4; r++)
                t[0][r] = t[2][r], t[1][r] = t[3][r];
        }
    }
}

/* The same as pairs of neighbouring tiles, as the right side of products: pairs k0 … of a matrix of
 * `steps` pairs. */
static void input_pairs(const band *b, size pairs, uint32_t *v, size plane, size steps, size k0) {
    const size vectors = round_up(b->channels, LANES) / LANES;
    for (size q = 0; q < vectors; q++) {
        const size c = q * LANES, from = packed_at(vectors, steps, q, 0),
                   step = packed_at(vectors, steps, q, 1) - from;
        const __mmask16 lanes = lanes_of(b->channels - c);
        vec t[6][4];
        input_column(b, -1, c, lanes, t[0]), input_column(b, 0, c, lanes, t[1]);
        for (size k = 0; k < pairs; k++) {
            for (int i = 0; i < 4; i++) input_column(b, 4 * k + 1 + i, c, lanes, t[2 + i]);
            UNROLLED for (int r = 0; r < 4; r++) {
                vec u[4], w[4];
                input_row(t[0][r], t[1][r], t[2][r], t[3][r], u),
                    input_row(t[2][r], t[3][r], t[4][r], t[5][r], w);
                UNROLLED for (int s = 0; s < 4; s++)
                    _mm512_storeu_si512(
                        v + (4 * r + s) * plane + from + (k0 + k) * step, paired(u[s], w[s])
                    );
            }
            UNROLLED for (int r = 0; r < 4; r++)
                t[0][r] = t[4][r], t[1][r] = t[5][r];
        }
    }
}

/* A e Aᵀ of gradients of outputs, as pairs of neighbouring tiles: places × pairs × channels
 * (padded). Adds the sum of the gradients to `sums`. */
INLINE void gradient_column(const band *b, size x, size c, __mmask16 lanes, vec t[4]) {
    if (x >= b->width) {
        t[0] = t[1] = t[2] = t[3] = _mm512_setzero_ps();
        return;
    }
    const vec d0 = at(b, 0, x, c, lanes), d1 = at(b, 1, x, c, lanes);
    t[0] = d0, t[1] = d0 + d1, t[2] = d0 - d1, t[3] = -d1;
}
INLINE void gradient_row(vec t0, vec t1, vec u[4]) {
    u[0] = t0, u[1] = t0 + t1, u[2] = t0 - t1, u[3] = -t1;
}

static void
gradient_pairs(const band *b, size pairs, uint32_t *d, size plane, size k0, float *sums) {
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
                UNROLLED for (int s = 0; s < 4; s++)
                    _mm512_storeu_si512(
                        d + (4 * r + s) * plane + (k0 + k) * padded + c, paired(u[s], w[s])
                    );
            }
        }
        _mm512_storeu_ps(sums + c, _mm512_loadu_ps(sums + c) + total);
    }
}

/* Aᵀ m A of a row of tiles to the map, with the bias; `m`: places × tiles × 16·vectors, `plane`
 * floats from place to place. */
static void output_tiles(const target *to, size across, size vectors, const float *m, size plane) {
    for (size j = 0; j < across; j++)
        for (size q = 0; q < vectors; q++) {
            const float *from = m + (j * vectors + q) * LANES;
            const __mmask16 lanes = lanes_of(to->left - q * LANES);
            const vec bias =
                to->bias ? _mm512_maskz_loadu_ps(lanes, to->bias + q * LANES) : _mm512_setzero_ps();
            vec y[2][4];
            UNROLLED for (int s = 0; s < 4; s++) {
                const vec m0 = _mm512_loadu_ps(from + s * plane),
                          m1 = _mm512_loadu_ps(from + (4 + s) * plane),
                          m2 = _mm512_loadu_ps(from + (8 + s) * plane),
                          m3 = _mm512_loadu_ps(from + (12 + s) * plane);
                y[0][s] = m0 + m1 + m2, y[1][s] = m1 - m2 - m3;
            }
            for (int r = 0; r < to->rows; r++) {
                elem *out = to->y + (r * to->width + 2 * j) * to->channels + q * LANES;
                _mm256_mask_storeu_epi16(out, lanes, narrowed(y[r][0] + y[r][1] + y[r][2] + bias));
                if (2 * j + 1 < to->width)
                    _mm256_mask_storeu_epi16(
                        out + to->channels, lanes, narrowed(y[r][1] - y[r][2] - y[r][3] + bias)
                    );
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
        UNROLLED for (int r = 0; r < 3; r++)
            d[r] = _mm512_maskz_loadu_ps(
                lanes, g + (3 * (turned ? 2 - r : r) + (turned ? 2 - s : s)) * channels
            );
        filter_line(d[0], d[1], d[2], t[s]);
    }
    UNROLLED for (int r = 0; r < 4; r++) {
        filter_line(t[0][r], t[1][r], t[2][r], line);
        UNROLLED for (int s = 0; s < 4; s++)
            u[r][s] = line[s];
    }
}
