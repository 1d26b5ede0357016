/* Pooling with ReLU: 2×2 windows by maximum or mean, the mean of a whole map; and flattening. */

#include "common.h"

/* Floating-point numbers as integers of the same order, NaN above all. */
INLINE bits ordered(bits v) {
    bits magnitude = v & MAGNITUDE;
    bits o = v < 0 ? (bits)~magnitude : v; /* -0 becomes -1, below 0 */
    return magnitude > INFINITE ? MAGNITUDE : o;
}
INLINE bits unordered(bits o) { return o < 0 ? (bits)(~o | ~(bits)MAGNITUDE) : o; }
/* Where ReLU follows only the positive ones' order matters: their bits have it already. */
INLINE bits positive(bits v) { return (bits)(v & MAGNITUDE) > INFINITE ? MAGNITUDE : v; }
#define EVERY(condition) ((bits) - (bits)(condition)) /* all bits, or none */
INLINE bits larger(bits a, bits b) { return a > b ? a : b; }

typedef struct {
    const void *x, *y, *g;
    void *out;
    size height, width, channels; /* of x; an odd row or column at the end belongs to no window */
    int relu;
} pooling;

/* Row r of windows, of all images counted through, begins in row `upper` of x. */
INLINE size upper(const pooling *p, size r) {
    return r / (p->height / 2) * p->height + 2 * (r % (p->height / 2));
}

/* What belongs to no window has no gradient. */
INLINE void clear_rest(const pooling *p, size r, bits *da, bits *db) {
    const size row = p->width * p->channels, last = (p->width - 1) * p->channels;
    if (p->width % 2)
        memset(da + last, 0, (row - last) * sizeof *da),
            memset(db + last, 0, (row - last) * sizeof *db);
    if (p->height % 2 && (r + 1) % (p->height / 2) == 0) memset(db + row, 0, row * sizeof *db);
}

/* C is a constant in every use, so that narrow maps are vectorised too */
INLINE void max_rows(const pooling *p, size from, size to, const size C, const int relu) {
    const size half = p->width / 2, row = p->width * C;
    for (size r = from; r < to; r++) {
        const bits *restrict a = (const bits *)p->x + upper(p, r) * row, *restrict b = a + row;
        bits *restrict out = (bits *)p->out + r * half * C;
        for (size j = 0; j < half; j++)
            for (size c = 0; c < C; c++) {
                const size i = 2 * j * C + c;
                if (relu) {
                    bits m = larger(
                        larger(positive(a[i]), positive(a[i + C])),
                        larger(positive(b[i]), positive(b[i + C]))
                    );
                    out[j * C + c] = larger(m, 0);
                } else {
                    bits m = larger(
                        larger(ordered(a[i]), ordered(a[i + C])),
                        larger(ordered(b[i]), ordered(b[i + C]))
                    );
                    out[j * C + c] = unordered(m);
                }
            }
    }
}

/* In a tie the gradient goes to the first of the equal values, as in the library. */
INLINE void max_rows_back(const pooling *p, size from, size to, const size C, const int relu) {
    const size half = p->width / 2, row = p->width * C;
    for (size r = from; r < to; r++) {
        const bits *restrict a = (const bits *)p->x + upper(p, r) * row, *restrict b = a + row;
        const bits *restrict y = (const bits *)p->y + r * half * C, *restrict g =
                                                                        (const bits *)p->g +
                                                                        r * half * C;
        bits *restrict da = (bits *)p->out + upper(p, r) * row, *restrict db = da + row;
        clear_rest(p, r, da, db);
        for (size j = 0; j < half; j++) INDEPENDENT
            for (size c = 0; c < C; c++) {
                const size i = 2 * j * C + c;
                const bits m = y[j * C + c];
                bits left = relu ? g[j * C + c] & EVERY(m > 0) : g[j * C + c]; /* masks, no branches
                                                                                */
                bits here;
                here = EVERY(a[i] == m), da[i] = left & here, left &= ~here;
                here = EVERY(a[i + C] == m), da[i + C] = left & here, left &= ~here;
                here = EVERY(b[i] == m), db[i] = left & here, left &= ~here;
                here = EVERY(b[i + C] == m), db[i + C] = left & here;
            }
    }
}

INLINE bits raw(elem v) {
    bits b;
    memcpy(&b, &v, sizeof b);
    return b;
}
INLINE void mean_rows(const pooling *p, size from, size to, const size C, const int relu) {
    const size half = p->width / 2, row = p->width * C;
    for (size r = from; r < to; r++) {
        const elem *restrict a = (const elem *)p->x + upper(p, r) * row, *restrict b = a + row;
        elem *restrict out = (elem *)p->out + r * half * C;
        for (size j = 0; j < half; j++)
            for (size c = 0; c < C; c++) {
                const size i = 2 * j * C + c;
                float above = rectified(widen(a[i]), relu) + rectified(widen(a[i + C]), relu);
                out[j * C + c] = narrow(
                    0.25f *
                    (above + rectified(widen(b[i]), relu) + rectified(widen(b[i + C]), relu))
                );
            }
    }
}

INLINE void mean_rows_back(const pooling *p, size from, size to, const size C, const int relu) {
    const size half = p->width / 2, row = p->width * C;
    for (size r = from; r < to; r++) {
        const bits *restrict a = relu ? (const bits *)p->x + upper(p, r) * row : NULL,
                             *restrict b = relu ? a + row : NULL;
        const elem *restrict g = (const elem *)p->g + r * half * C;
        bits *restrict da = (bits *)p->out + upper(p, r) * row, *restrict db = da + row;
        clear_rest(p, r, da, db);
        for (size j = 0; j < half; j++) INDEPENDENT
            for (size c = 0; c < C; c++) {
                const size i = 2 * j * C + c;
                const bits quarter = raw(narrow(0.25f * widen(g[j * C + c])));
                if (relu) {
                    da[i] = quarter & EVERY(a[i] > 0), da[i + C] = quarter & EVERY(a[i + C] > 0);
                    db[i] = quarter & EVERY(b[i] > 0), db[i + C] = quarter & EVERY(b[i + C] > 0);
                } else
                    da[i] = da[i + C] = db[i] = db[i + C] = quarter;
            }
    }
}

#define FIXED(count, call) \
    case count: { \
        const size C = count; \
        call; \
        break; \
    }
#define CHANNELS(call) \
    switch (p->channels) { \
        FIXED(1, call) \
        FIXED(2, call) \
        FIXED(4, call) \
        FIXED(8, call) \
        FIXED(16, call) \
        FIXED(32, call) \
    default: { \
        const size C = p->channels; \
        call; \
    } \
    }
#define ROWS_JOB(name, rows) \
    static int name(void *job, size from, size to, int part) { \
        const pooling *p = job; \
        (void)part; \
        if (p->relu) { \
            CHANNELS(rows(p, from, to, C, 1)) \
        } else { \
            CHANNELS(rows(p, from, to, C, 0)) \
        } \
        return DONE; \
    }
ROWS_JOB(max_job, max_rows)
ROWS_JOB(max_back_job, max_rows_back)
ROWS_JOB(mean_job, mean_rows)
ROWS_JOB(mean_back_job, mean_rows_back)

API int max_pool(
    const void *x, void *y, size count, size height, size width, size channels, int relu,
    int threads
) {
    pooling p = {x, NULL, NULL, y, height, width, channels, relu};
    return share(max_job, &p, count * (height / 2), threads);
}
API int max_pool_back(
    const void *x, const void *y, const void *g, void *dx, size count, size height, size width,
    size channels, int relu, int threads
) {
    pooling p = {x, y, g, dx, height, width, channels, relu};
    return share(max_back_job, &p, count * (height / 2), threads);
}
API int mean_pool(
    const void *x, void *y, size count, size height, size width, size channels, int relu,
    int threads
) {
    pooling p = {x, NULL, NULL, y, height, width, channels, relu};
    return share(mean_job, &p, count * (height / 2), threads);
}
API int mean_pool_back(
    const void *x, const void *g, void *dx, size count, size height, size width, size channels,
    int relu, int threads
) {
    pooling p = {x, NULL, g, dx, height, width, channels, relu};
    return share(mean_back_job, &p, count * (height / 2), threads);
}

/* global average pooling, with ReLU: N×P×C to N×C */

typedef struct {
    const void *x, *g;
    void *out;
    size pixels, channels;
    int relu;
} averaging;

static int global_job(void *job, size from, size to, int part) {
    const averaging *p = job;
    const size C = p->channels;
    float total[MOST_CHANNELS];
    (void)part;
    for (size n = from; n < to; n++) {
        const elem *restrict x = (const elem *)p->x + n * p->pixels * C;
        for (size c = 0; c < C; c++) total[c] = 0;
        for (size i = 0; i < p->pixels; i++)
            if (p->relu)
                for (size c = 0; c < C; c++) total[c] += rectified(widen(x[i * C + c]), 1);
            else
                for (size c = 0; c < C; c++) total[c] += widen(x[i * C + c]);
        elem *out = (elem *)p->out + n * C;
        for (size c = 0; c < C; c++) out[c] = narrow(total[c] / (float)p->pixels);
    }
    return DONE;
}

static int global_back_job(void *job, size from, size to, int part) {
    const averaging *p = job;
    const size C = p->channels;
    elem share_of[MOST_CHANNELS];
    (void)part;
    for (size n = from; n < to; n++) {
        const elem *g = (const elem *)p->g + n * C;
        for (size c = 0; c < C; c++) share_of[c] = narrow(widen(g[c]) / (float)p->pixels);
        const bits *restrict x = (const bits *)p->x + n * p->pixels * C;
        elem *restrict dx = (elem *)p->out + n * p->pixels * C;
        for (size i = 0; i < p->pixels; i++)
            if (p->relu)
                for (size c = 0; c < C; c++) dx[i * C + c] = x[i * C + c] > 0 ? share_of[c] : 0;
            else
                memcpy(dx + i * C, share_of, C * sizeof(elem));
    }
    return DONE;
}

API int
global_pool(const void *x, void *y, size count, size pixels, size channels, int relu, int threads) {
    averaging p = {x, NULL, y, pixels, channels, relu};
    return share(global_job, &p, count, threads);
}
API int global_pool_back(
    const void *x, const void *g, void *dx, size count, size pixels, size channels, int relu,
    int threads
) {
    averaging p = {x, g, dx, pixels, channels, relu};
    return share(global_back_job, &p, count, threads);
}

/* flattening: N×P×C, as channels_last has it, to N×C·P, channel after channel, and back */

typedef struct {
    const elem *x;
    elem *y;
    size outer, inner; /* N×outer×inner becomes N×inner×outer */
} flattening;

static int flatten_job(void *job, size from, size to, int part) {
    const flattening *p = job;
    const size outer = p->outer, inner = p->inner;
    (void)part;
    for (size n = from; n < to; n++) {
        const elem *restrict x = p->x + n * outer * inner;
        elem *restrict y = p->y + n * outer * inner;
        for (size i = 0; i < inner; i++)
            for (size o = 0; o < outer; o++) y[i * outer + o] = x[o * inner + i];
    }
    return DONE;
}
API int flatten(const void *x, void *y, size count, size outer, size inner, int threads) {
    flattening p = {x, y, outer, inner};
    return share(flatten_job, &p, count, threads);
}
