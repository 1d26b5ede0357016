/* The first block of a network as one kernel, where vectors have sixteen values: 3×3 convolution of
 * few channels, ReLU, 2×2 max pooling. first_eight.c has it for those of eight. */

#include "first.h"

#ifdef __AVX512F__

/* Where the processor multiplies pairs of bfloat16 it does so at twice the rate; from DOT_FROM
 * filters that pays for arranging the pairs. */
#if defined(__AVX512BF16__) && defined(__AVX512BW__) && !defined(FLOAT32)
#include <immintrin.h>
#define DOT
#define DOT_FROM 4
#define MOST_PAIRS ((9 * MOST_IN + 1) / 2)
typedef uint16_t half_vec __attribute__((vector_size(64)));
INLINE size pairs_of(size in) { return (9 * in + 1) / 2; }
#endif

/* Floats' bits as an elem's bits, in the low half where these are 16. */
#ifdef FLOAT32
INLINE ivec narrowed(ivec v) { return v; }
INLINE elem to_elem(int32_t v) {
    float f;
    memcpy(&f, &v, 4);
    return f;
}
#else
INLINE ivec narrowed(ivec v) {
    const ivec nan = (v & 0x7fffffff) > 0x7f800000;
    return (~nan & (((v + 0x7fff + ((v >> 16) & 1)) >> 16) & 0xffff)) | (nan & 0x7fc0);
}
INLINE elem to_elem(int32_t v) { return (elem)v; }
#endif

/* Pixels of an image as planes with a border of zeros; `in` is a constant where it is 1 or 3. */
#define PLANES(name, type, take) \
    INLINE void name##_of( \
        const first *p, size n, type *restrict to, size row, size plane, const size in \
    ) { \
        const elem *restrict x = p->x + n * p->height * p->width * in; \
        for (size i = 0; i < p->height; i++) \
            for (size c = 0; c < in; c++) { \
                type *restrict line = to + c * plane + (i + 1) * row + 1; \
                for (size j = 0; j < p->width; j++) \
                    line[j] = take(x[(i * p->width + j) * in + c]); \
            } \
    } \
    static void name(const first *p, size n, type *to, size row, size plane) { \
        switch (p->in) { \
        case 1: name##_of(p, n, to, row, plane, 1); break; \
        case 3: name##_of(p, n, to, row, plane, 3); break; \
        default: name##_of(p, n, to, row, plane, p->in); \
        } \
    }
PLANES(float_planes, float, widen)
#ifdef DOT
PLANES(slow_planes, elem, )

/* Three channels apart, 32 pixels at a time: of every third value the first two vectors have what
 * is below PART, the third one the rest. */
#define THIRD(n, f) f(n), f(n + 1), f(n + 2), f(n + 3), f(n + 4), f(n + 5), f(n + 6), f(n + 7)
#define ALL(f) THIRD(0, f), THIRD(8, f), THIRD(16, f), THIRD(24, f)
static void planes(const first *p, size n, elem *to, size row, size plane) {
    if (p->in != 3 || p->width % 32) {
        slow_planes(p, n, to, row, plane);
        return;
    }
    const elem *x = p->x + n * p->height * p->width * 3;
    for (size i = 0; i < p->height; i++)
        for (size j = 0; j < p->width; j += 32) {
            half_vec v[3], part, plane_of[3];
            memcpy(v, x + (i * p->width + j) * 3, sizeof v);
#define FROM(c, n) (3 * (n) + c < 64 ? 3 * (n) + c : 0)
#define REST(c, n) (3 * (n) + c < 64 ? (n) : 3 * (n) + c - 64 + 32)
#define FROM0(n) FROM(0, n)
#define FROM1(n) FROM(1, n)
#define FROM2(n) FROM(2, n)
#define REST0(n) REST(0, n)
#define REST1(n) REST(1, n)
#define REST2(n) REST(2, n)
            part = __builtin_shufflevector(v[0], v[1], ALL(FROM0)),
            plane_of[0] = __builtin_shufflevector(part, v[2], ALL(REST0));
            part = __builtin_shufflevector(v[0], v[1], ALL(FROM1)),
            plane_of[1] = __builtin_shufflevector(part, v[2], ALL(REST1));
            part = __builtin_shufflevector(v[0], v[1], ALL(FROM2)),
            plane_of[2] = __builtin_shufflevector(part, v[2], ALL(REST2));
            for (int c = 0; c < 3; c++)
                memcpy(to + c * plane + (i + 1) * row + j + 1, &plane_of[c], sizeof(half_vec));
        }
}
#endif

/* Convolution at two rows × two vectors of columns × B channels from o. */
INLINE void convolve_floats(
    const first *p, const float *image, size row, size plane, size i, size x0, size o, const int B,
    vec (*top)[2], vec (*low)[2]
) {
    for (int b = 0; b < B; b++) top[b][0] = top[b][1] = low[b][0] = low[b][1] = (vec){0};
    for (size c = 0; c < p->in; c++)
        for (int r = 0; r < 4; r++)
            for (int k = 0; k < 3; k++) {
                const float *from = image + c * plane + (2 * i + r) * row + x0 + k;
                const vec v0 = load(from), v1 = load(from + LANES);
                for (int b = 0; b < B; b++) {
                    const float *w = p->weight + ((o + b) * p->in + c) * 9 + k;
                    if (r < 3) top[b][0] += v0 * w[3 * r], top[b][1] += v1 * w[3 * r];
                    if (r > 0) low[b][0] += v0 * w[3 * (r - 1)], low[b][1] += v1 * w[3 * (r - 1)];
                }
            }
}

#ifdef DOT
/* The same by products of pairs: 32 columns of all 9·I taps of an output row, two taps beside each
 * other, times pairs of weights. */

INLINE void gather_pairs(
    const first *p, const uint16_t *image, size row, size plane, size y, size x0,
    uint32_t (*pairs)[2 * LANES]
) {
    const int taps = 9 * (int)p->in;
    for (int t = 0; t < taps; t += 2) {
        const uint16_t *from = image + t / 9 * plane + (y + t % 9 / 3) * row + x0 + t % 3;
        half_vec a, b = {0};
        memcpy(&a, from, sizeof a);
        if (t + 1 < taps)
            memcpy(
                &b, image + (t + 1) / 9 * plane + (y + (t + 1) % 9 / 3) * row + x0 + (t + 1) % 3,
                sizeof b
            );
#define ZIP(n) \
    n, 32 + n, n + 1, 33 + n, n + 2, 34 + n, n + 3, 35 + n, n + 4, 36 + n, n + 5, 37 + n, n + 6, \
        38 + n, n + 7, 39 + n
        const half_vec first_half = __builtin_shufflevector(a, b, ZIP(0), ZIP(8)),
                       second_half = __builtin_shufflevector(a, b, ZIP(16), ZIP(24));
        memcpy(pairs[t / 2], &first_half, sizeof first_half),
            memcpy(pairs[t / 2] + LANES, &second_half, sizeof second_half);
    }
}

INLINE void convolve_pairs(
    const first *p, uint32_t (*pairs)[MOST_PAIRS][2 * LANES], size o, const int B, vec (*top)[2],
    vec (*low)[2]
) {
    const size count = pairs_of(p->in);
    __m512 t[BLOCK][2], l[BLOCK][2];
    for (int b = 0; b < B; b++) t[b][0] = t[b][1] = l[b][0] = l[b][1] = _mm512_setzero_ps();
    for (size m = 0; m < count; m++) {
        const __m512bh t0 = (__m512bh)_mm512_loadu_si512(pairs[0][m]),
                       t1 = (__m512bh)_mm512_loadu_si512(pairs[0][m] + LANES);
        const __m512bh l0 = (__m512bh)_mm512_loadu_si512(pairs[1][m]),
                       l1 = (__m512bh)_mm512_loadu_si512(pairs[1][m] + LANES);
        for (int b = 0; b < B; b++) {
            const __m512bh w = (__m512bh)_mm512_set1_epi32((int)p->packed[(o + b) * count + m]);
            t[b][0] = _mm512_dpbf16_ps(t[b][0], t0, w), t[b][1] = _mm512_dpbf16_ps(t[b][1], t1, w);
            l[b][0] = _mm512_dpbf16_ps(l[b][0], l0, w), l[b][1] = _mm512_dpbf16_ps(l[b][1], l1, w);
        }
    }
    memcpy(top, t, sizeof(vec) * 2 * B), memcpy(low, l, sizeof(vec) * 2 * B);
}
#endif

/* Maximum of each window, bias, ReLU; written for B channels from place `at` of the result. */
INLINE void
finish(const first *p, vec (*top)[2], vec (*low)[2], size o, const int B, size at, size columns) {
    ivec values[BLOCK], places[BLOCK] = {0};
#define EVEN(a, b) \
    __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODD(a, b) \
    __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
    for (int b = 0; b < B; b++) {
        /* a NaN wins */
        const ivec below0 = (low[b][0] > top[b][0]) | (low[b][0] != low[b][0]),
                   below1 = (low[b][1] > top[b][1]) | (low[b][1] != low[b][1]);
        const vec m0 = pick(below0, low[b][0], top[b][0]), m1 = pick(below1, low[b][1], top[b][1]);
        const vec left = EVEN(m0, m1), right = ODD(m0, m1);
        const ivec at_right = (right > left) | (right != right);
        const vec m = pick(at_right, right, left) + p->bias[o + b];
        const ivec alive = (m > 0) | (m != m);
        values[b] = narrowed((ivec)m & alive);
        if (p->place) {
            const ivec below_left = EVEN(below0, below1), below_right = ODD(below0, below1);
            const ivec index =
                (((at_right & below_right) | (~at_right & below_left)) & 2) | (at_right & 1);
            places[b] = (alive & index) | (~alive & 4);
        }
    }
    elem *restrict y = p->y + at;
    uint8_t *restrict place = p->place ? p->place + at : NULL;
#if !defined(FLOAT32) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (B == 4) { /* four channels' values are neighbours in memory, and so are their places */
        int32_t pair[2][LANES];
        const ivec one = values[0] | values[1] << 16, two = values[2] | values[3] << 16;
        memcpy(pair[0], &one, sizeof one), memcpy(pair[1], &two, sizeof two);
        for (size j = 0; j < columns; j++)
            memcpy(y + j * p->out, &pair[0][j], 4), memcpy(y + j * p->out + 2, &pair[1][j], 4);
        if (!place) return;
        int32_t four[LANES];
        const ivec all = places[0] | places[1] << 8 | places[2] << 16 | places[3] << 24;
        memcpy(four, &all, sizeof all);
        for (size j = 0; j < columns; j++) memcpy(place + j * p->out, &four[j], 4);
        return;
    }
#endif
    for (int b = 0; b < B; b++) {
        int32_t line[LANES];
        memcpy(line, &values[b], sizeof line);
        for (size j = 0; j < columns; j++) y[j * p->out + b] = to_elem(line[j]);
        if (!place) continue;
        memcpy(line, &places[b], sizeof line);
        for (size j = 0; j < columns; j++) place[j * p->out + b] = (uint8_t)line[j];
    }
}

static int first_job(void *job, size from, size to, int part) {
    const first *p = job;
    const size half = p->width / 2, step = 2 * LANES;
    const size row = (p->width + step - 1) / step * step + step,
               plane = (p->height + 2) * row + step;
    void *image = calloc(p->in * plane, sizeof(float)); /* its border stays zero */
    (void)part;
    if (!image) return OUT_OF_MEMORY;
    for (size n = from; n < to; n++) {
#ifdef DOT
        if (p->packed)
            planes(p, n, image, row, plane);
        else
#endif
            float_planes(p, n, image, row, plane);
        for (size i = 0; i < p->height / 2; i++)
            for (size x0 = 0; x0 < p->width; x0 += step) {
                const size at = ((n * (p->height / 2) + i) * half + x0 / 2) * p->out,
                           columns = LEAST(LANES, half - x0 / 2);
                vec top[BLOCK][2], low[BLOCK][2];
#ifdef DOT
                uint32_t pairs[2][MOST_PAIRS][2 * LANES];
                if (p->packed) {
                    gather_pairs(p, image, row, plane, 2 * i, x0, pairs[0]),
                        gather_pairs(p, image, row, plane, 2 * i + 1, x0, pairs[1]);
                    BLOCKS(convolve_pairs(p, pairs, o, B, top, low);
                           finish(p, top, low, o, B, at + o, columns))
                    continue;
                }
#endif
                BLOCKS(convolve_floats(p, image, row, plane, i, x0, o, B, top, low);
                       finish(p, top, low, o, B, at + o, columns))
            }
    }
    free(image);
    return DONE;
}

API int first_block(
    const void *x, const float *weight, const float *bias, void *y, void *place, size count,
    size height, size width, size in, size out, int threads
) {
    first p = {
        .x = x,
        .weight = weight,
        .bias = bias,
        .y = y,
        .place = place,
        .height = height,
        .width = width,
        .in = in,
        .out = out
    };
#ifdef DOT
    const size pairs = pairs_of(in);
    uint32_t *packed = out >= DOT_FROM ? malloc(sizeof(uint32_t) * pairs * out) : NULL;
    if (out >= DOT_FROM && !packed) return OUT_OF_MEMORY;
    for (size o = 0; packed && o < out; o++)
        for (size m = 0; m < pairs; m++) {
            const float *w = weight + o * 9 * in + 2 * m;
            packed[o * pairs + m] =
                narrow(w[0]) | (2 * m + 1 < 9 * in ? (uint32_t)narrow(w[1]) << 16 : 0);
        }
    p.packed = packed;
    const int status = share(first_job, &p, count, threads);
    free(packed);
    return status;
#else
    return share(first_job, &p, count, threads);
#endif
}
#endif
