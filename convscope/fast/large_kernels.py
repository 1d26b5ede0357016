"""A large kernel with few filters, computed on blocks of pixels.

4×4 neighbours become channels, so that a convolution of, say, 5 filters of 15×15 pixels and 3
channels becomes one of 80 filters of 5×5 blocks and 48 channels. It does up to twice the products,
half of them with zeros, in a shape that processors are fast at. The same function up to the order
of sums; the gradients come by themselves.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 4  # of a block

# where it is faster: bench/convolutions.py
SMALLEST_KERNEL, MOST_FILTERS, MOST_CHANNELS = 9, 6, 4


def gains(conv: nn.Conv2d) -> bool:
    """Whether folding is faster: large kernels, few channels on both sides."""
    kernel = conv.kernel_size[0]
    plain = (
        conv.stride == (1, 1)
        and conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.padding_mode == "zeros"
    )
    square = (
        kernel % 2 == 1
        and conv.kernel_size == (kernel, kernel)
        and conv.padding == (kernel // 2, kernel // 2)
    )
    few = conv.out_channels <= MOST_FILTERS and conv.in_channels <= MOST_CHANNELS
    return plain and square and few and kernel >= SMALLEST_KERNEL


@functools.cache
def kernel_places(kernel: int) -> tuple[Tensor, int, int]:
    """Where the kernel's K rows lie in the window of blocks of each of SIDE output rows.

    Returns (SIDE·T·SIDE)×K zeros and ones; T, the window's blocks; the blocks before the output's
    own.
    """
    reach = kernel // 2
    before = -(-reach // SIDE)
    blocks = before + (SIDE - 1 + reach) // SIDE + 1
    output, row = torch.arange(SIDE)[:, None], torch.arange(blocks * SIDE)[None]
    # the kernel's row over this row of the window, where there is one
    inside = row - output + reach - SIDE * before
    return (inside.reshape(-1, 1) == torch.arange(kernel)).float(), blocks, before


def convolve_on_blocks(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution of x (N×C×H×W) by F×C×K×K weights: N×F×H×W, channels_last.

    K is odd, the stride 1; a border of zeros keeps the size.
    """
    # so that gradients of weights are summed in their own precision
    with torch.autocast(x.device.type, enabled=False):
        count, channels, height, width = x.shape
        filters, _, kernel, _ = weight.shape
        place, blocks, before = kernel_places(kernel)
        place = place.to(weight.device, weight.dtype)
        window = (place @ weight @ place.T).view(
            filters, channels, SIDE, blocks, SIDE, SIDE, blocks, SIDE
        )
        # F×C×(row, block, row in it)×(column, block, column in it)
        # -> (F·row·column)×(row in a block·column in it·C)×T×T
        folded = window.permute(0, 2, 5, 4, 7, 1, 3, 6).reshape(
            filters * SIDE**2, SIDE**2 * channels, blocks, blocks
        )
        down, across = -(-height // SIDE), -(-width // SIDE)
        top = left = SIDE * before
        bottom, right = (
            SIDE * (n + blocks - 1) - size - SIDE * before
            for n, size in ((down, height), (across, width))
        )
        padded = F.pad(x, (left, right, top, bottom)).permute(0, 2, 3, 1)
        rows = padded.reshape(count, down + blocks - 1, SIDE, across + blocks - 1, SIDE, channels)
        inputs = rows.transpose(2, 3).flatten(3).permute(0, 3, 1, 2)
        shift = None if bias is None else bias.to(x.dtype).repeat_interleave(SIDE**2)
        y = F.conv2d(inputs, folded.to(x.dtype, memory_format=torch.channels_last), shift)
        outputs = (
            y.permute(0, 2, 3, 1)
            .reshape(count, down, across, filters, SIDE, SIDE)
            .permute(0, 1, 4, 2, 5, 3)
        )
        whole = outputs.reshape(count, SIDE * down, SIDE * across, filters).permute(0, 3, 1, 2)
        return whole[:, :, :height, :width].contiguous(memory_format=torch.channels_last)
