#pragma once
/* Matrix products, and the transforms of Winograd's algorithm F(4×4, 3×3), in float.

A tile is 4×4 outputs and the 6×6 inputs they depend on: 36 products where the definition takes 144.
The points are 0, ±1, ±2 and infinity. */

#define TILE 4
#define SPAN 6
#define PLACES 36

#include "tiles.h"
#include "vectors.h"

static float *reserve(size floats) {
    return aligned_alloc(64, (size_t)round_up(floats * (size)sizeof(float), 64));
}

/* ---- matrix products: c[i][j] = or += Σ_k a[i][k] · b[k][j]. b's columns, in vectors, lie in
 * blocks of two vectors; the last may be one. ---- */

#define BLOCK 2

/* Vectors of the block that begins with vector `start`. */
INLINE size wide_of(size vectors, size start) { return LEAST(vectors - start, BLOCK); }

INLINE void product(
    const int rows, const int vectors, const float *a, size a_row, size a_step, const float *b,
    size steps, float *c, size c_row, const int add
) {
    vec sum[6][BLOCK];
    UNROLLED for (int i = 0; i < rows; i++) UNROLLED
        for (int j = 0; j < vectors; j++)
            sum[i][j] = add ? load(c + i * c_row + j * LANES) : zeros();
    for (size k = 0; k < steps; k++) {
        vec right[BLOCK];
        UNROLLED for (int j = 0; j < vectors; j++)
            right[j] = load(b + (k * vectors + j) * LANES);
        UNROLLED for (int i = 0; i < rows; i++) {
            const vec left = a[i * a_row + k * a_step] - zeros();
            UNROLLED for (int j = 0; j < vectors; j++)
                sum[i][j] += left * right[j];
        }
    }
    UNROLLED for (int i = 0; i < rows; i++) UNROLLED
        for (int j = 0; j < vectors; j++) store(c + i * c_row + j * LANES, sum[i][j]);
}

/* Six rows at a time, and four or fewer at the end. */
INLINE void products(
    const int vectors, const float *a, size a_row, size a_step, size rows, const float *b,
    size steps, float *c, size c_row, const int add
) {
    size i = 0;
    for (; rows - i >= 6 && rows - i != 8; i += 6)
        product(6, vectors, a + i * a_row, a_row, a_step, b, steps, c + i * c_row, c_row, add);
    for (; i + 4 <= rows; i += 4)
        product(4, vectors, a + i * a_row, a_row, a_step, b, steps, c + i * c_row, c_row, add);
    for (; i < rows; i++)
        product(1, vectors, a + i * a_row, a_row, a_step, b, steps, c + i * c_row, c_row, add);
}

static void multiply_to(
    size vectors, const float *a, size a_row, size a_step, size rows, const float *b, size steps,
    float *c, size c_row
) {
    if (vectors == 2) products(2, a, a_row, a_step, rows, b, steps, c, c_row, 0);
    else products(1, a, a_row, a_step, rows, b, steps, c, c_row, 0);
}
static void multiply_add(
    size vectors, const float *a, size a_row, size a_step, size rows, const float *b, size steps,
    float *c, size c_row
) {
    if (vectors == 2) products(2, a, a_row, a_step, rows, b, steps, c, c_row, 1);
    else products(1, a, a_row, a_step, rows, b, steps, c, c_row, 1);
}

/* ---- transforms: each matrix is applied to the columns of a tile, then to its rows ---- */

/* Bᵀ of six inputs. */
INLINE void input_line(const vec d[SPAN], vec t[SPAN]) {
    const vec even = d[4] - 4 * d[2], odd = d[3] - 4 * d[1], wide = d[4] - d[2],
              twice = 2 * (d[3] - d[1]);
    t[0] = 4 * d[0] - 5 * d[2] + d[4];
    t[1] = even + odd, t[2] = even - odd, t[3] = wide + twice, t[4] = wide - twice;
    t[5] = 4 * d[1] - 5 * d[3] + d[5];
}
/* G of three filter values. */
INLINE void filter_line(const vec g[3], vec u[SPAN]) {
    const vec ends = (g[0] + g[2]) * (-1 / 6.0f), middle = g[1] * (1 / 6.0f),
              far = g[0] * (1 / 24.0f) + g[2] * (1 / 6.0f), near = g[1] * (1 / 12.0f);
    u[0] = g[0] * 0.25f, u[1] = ends - middle, u[2] = ends + middle;
    u[3] = far + near, u[4] = far - near, u[5] = g[2];
}
/* Gᵀ of six sums. */
INLINE void filter_back_line(const vec u[SPAN], vec g[3]) {
    const vec one = u[1] + u[2], two = u[3] + u[4];
    g[0] = u[0] * 0.25f - one * (1 / 6.0f) + two * (1 / 24.0f);
    g[1] = (u[2] - u[1]) * (1 / 6.0f) + (u[3] - u[4]) * (1 / 12.0f);
    g[2] = (two - one) * (1 / 6.0f) + u[5];
}
/* Aᵀ of six products. */
INLINE void output_line(const vec m[SPAN], vec y[TILE]) {
    const vec one = m[1] + m[2], turned = m[1] - m[2], two = m[3] + m[4], back = m[3] - m[4];
    y[0] = m[0] + one + two, y[1] = turned + 2 * back;
    y[2] = one + 4 * two, y[3] = turned + 8 * back + m[5];
}
/* A of the gradients of four outputs. */
INLINE void gradient_line(const vec e[TILE], vec t[SPAN]) {
    const vec even = e[0] + e[2], odd = e[1] + e[3], wide = e[0] + 4 * e[2],
              twice = 2 * e[1] + 8 * e[3];
    t[0] = e[0], t[1] = even + odd, t[2] = even - odd, t[3] = wide + twice, t[4] = wide - twice;
    t[5] = e[3];
}

/* `rows` pixels below each other, of the channels from c on. */
INLINE void pixels(const band *b, const int rows, size x, size c, vec d[]) {
    const size lanes = b->channels - c;
    const int inside = x >= 0 && x < b->width;
    UNROLLED for (int r = 0; r < rows; r++)
        d[r] = inside && b->row[r] ? load_part(b->row[r] + x * b->channels + c, lanes) : zeros();
}
INLINE void input_column(const band *b, size x, size c, vec t[SPAN]) {
    vec d[SPAN];
    pixels(b, SPAN, x, c, d);
    input_line(d, t);
}

/* Bᵀ d B of a row of tiles, of the vector of channels from c on: `plane` floats from place to
 * place, `step` from tile to tile. */
static void
input_tiles(const band *b, size across, size c, float *restrict v, size plane, size step) {
    vec t[SPAN][SPAN];
    input_column(b, -1, c, t[0]), input_column(b, 0, c, t[1]);
    for (size j = 0; j < across; j++) {
        for (int i = 2; i < SPAN; i++) input_column(b, TILE * j + i - 1, c, t[i]);
        UNROLLED for (int r = 0; r < SPAN; r++) {
            const vec d[SPAN] = {t[0][r], t[1][r], t[2][r], t[3][r], t[4][r], t[5][r]};
            vec u[SPAN];
            input_line(d, u);
            UNROLLED for (int s = 0; s < SPAN; s++)
                store(v + (SPAN * r + s) * plane + j * step, u[s]);
        }
        UNROLLED for (int r = 0; r < SPAN; r++)
            t[0][r] = t[4][r], t[1][r] = t[5][r];
    }
}

/* A e Aᵀ of a row of tiles of gradients of outputs; returns the sum of the gradients. */
static vec
gradient_tiles(const band *b, size across, size c, float *restrict v, size plane, size step) {
    vec total = zeros();
    for (size j = 0; j < across; j++) {
        vec t[TILE][SPAN];
        for (int i = 0; i < TILE; i++) {
            vec e[TILE];
            pixels(b, TILE, TILE * j + i, c, e);
            gradient_line(e, t[i]);
        }
        UNROLLED for (int r = 0; r < SPAN; r++) {
            const vec e[TILE] = {t[0][r], t[1][r], t[2][r], t[3][r]};
            vec u[SPAN];
            gradient_line(e, u);
            if (r == 1) total += u[1];
            UNROLLED for (int s = 0; s < SPAN; s++)
                store(v + (SPAN * r + s) * plane + j * step, u[s]);
        }
    }
    return total;
}

/* Aᵀ m A of a row of tiles, with the bias; `m`: places × tiles × vectors. */
static void output_tiles(const target *to, size across, size vectors, const float *m, size plane) {
    for (size j = 0; j < across; j++)
        for (size q = 0; q < vectors; q++) {
            const float *from = m + (j * vectors + q) * LANES;
            const size lanes = to->left - q * LANES, columns = LEAST(TILE, to->width - TILE * j);
            const vec bias = to->bias ? load_part(to->bias + q * LANES, lanes) : zeros();
            vec t[TILE][SPAN];
            UNROLLED for (int s = 0; s < SPAN; s++) {
                vec column[SPAN], y[TILE];
                UNROLLED for (int r = 0; r < SPAN; r++)
                    column[r] = load(from + (SPAN * r + s) * plane);
                output_line(column, y);
                UNROLLED for (int r = 0; r < TILE; r++)
                    t[r][s] = y[r];
            }
            UNROLLED for (int r = 0; r < TILE; r++) {
                vec y[TILE];
                if (r >= to->rows) break;
                output_line(t[r], y);
                float *out = to->y + (r * to->width + TILE * j) * to->channels + q * LANES;
                for (size s = 0; s < columns; s++)
                    store_part(out + s * to->channels, y[s] + bias, lanes);
            }
        }
}

/* G g Gᵀ of the channels from `g` on of a filter O×3×3×C; turned by 180° where `turned`. */
INLINE void
filter(const float *g, size channels, size lanes, vec u[SPAN][SPAN], const int turned) {
    vec t[3][SPAN];
    UNROLLED for (int s = 0; s < 3; s++) {
        vec d[3];
        UNROLLED for (int r = 0; r < 3; r++)
            d[r] = load_part(g + (turned ? 8 - 3 * r - s : 3 * r + s) * channels, lanes);
        filter_line(d, t[s]);
    }
    UNROLLED for (int r = 0; r < SPAN; r++) {
        const vec d[3] = {t[0][r], t[1][r], t[2][r]};
        filter_line(d, u[r]);
    }
}
