"""A convolution and the mean of its outputs over 2×2 windows, as one convolution of stride 2.

With nothing nonlinear between them both are one linear map, and the whole map of outputs is never
written. K×K filters become (K + 1)×(K + 1). The same function up to the order of sums; the
gradients come by themselves.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# from which it is faster with the gradient of the inputs too: bench/convolutions.py
LEAST_CHANNELS, LEAST_SIDE = 16, 16


def gains(x: Tensor) -> bool:
    """Whether it is faster.

    Without a gradient of the inputs it always is, with it for many channels on large maps.
    """
    return not x.requires_grad or (x.shape[1] >= LEAST_CHANNELS and min(x.shape[2:]) >= LEAST_SIDE)


def convolve_and_average(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The mean over 2×2 windows of the convolution of x (N×C×H×W) by F×C×K×K weights.

    K is odd, the stride 1; a border of zeros keeps the size. Returns N×F×⌊H/2⌋×⌊W/2⌋,
    channels_last; of an odd map the last row and column are left out, as in average pooling.
    """
    # so that gradients of weights are summed in their own precision
    with torch.autocast(x.device.type, enabled=False):
        summed = sum(
            F.pad(weight, (left, 1 - left, top, 1 - top)) for top in (0, 1) for left in (0, 1)
        )
        assert isinstance(summed, Tensor)
        filters = (0.25 * summed).to(x.dtype, memory_format=torch.channels_last)
        shift = None if bias is None else bias.to(x.dtype)
        return F.conv2d(x, filters, shift, stride=2, padding=weight.shape[-1] // 2).contiguous(
            memory_format=torch.channels_last
        )
