#pragma once
/* What both of Winograd's algorithms share. SPAN, the rows of inputs of a tile, is set before. */

#include "common.h"

/* Rows of an image, null where they lie outside. */
typedef struct {
    const elem *row[SPAN];
    size width, channels;
} band;

static band band_of(
    const elem *x, size image, size first_row, int rows, size height, size width, size channels
) {
    band b = {{0}, width, channels};
    for (int r = 0; r < rows; r++)
        if (first_row + r >= 0 && first_row + r < height)
            b.row[r] = x + ((image * height + first_row + r) * width) * channels;
    return b;
}

/* A map's rows that tiles write to: from the first row of tiles, and the block's first channel. */
typedef struct {
    elem *y;
    const float *bias;
    size rows, width, channels, left; /* left: channels from the block's first on */
} target;

/* The gradient by the filters; high, across: tiles of an image; rows of tiles at a time and in all.
 */
typedef struct {
    const elem *x, *g;
    float *du;   /* for each part places × O × (C rounded up) */
    float *sums; /* for each part O rounded up: of the bias */
    float *dw;
    size height, width, in, out, high, across, rows, all_rows;
    int parts;
} weights;

/* The gradient of the biases: the parts' sums, `padded` floats from part to part. */
static void bias_back(const weights *p, float *db, size padded) {
    for (size o = 0; o < p->out; o++) {
        db[o] = 0;
        for (int part = 0; part < p->parts; part++) db[o] += p->sums[part * padded + o];
    }
}
