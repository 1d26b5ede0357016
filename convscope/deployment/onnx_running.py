"""ONNX models run and quantised. The only file that imports onnxruntime, of the extra `export`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convscope.deployment.graph import quiet
from convscope.deployment.onnx_files import (
    INPUT,
    OUTPUT,
    normalising_nodes,
    without_batch_norm,
)

AT_ONCE = 250  # images of 3×32×32
PIXELS = 3 * 32 * 32
# operators of 8 bits; others, such as normalisations and smooth activations, stay in floating point
QUANTISED = (
    *("Conv", "Gemm", "MatMul", "Add", "Relu", "LeakyRelu", "Clip", "Concat", "Pad", "Slice"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean", "Reshape", "Flatten"),
    *("Transpose", "Gather", "Squeeze", "Unsqueeze", "Split"),
)
# without it a ReLU behind max pooling is dropped, and nothing cuts the negative values
KEEP = {"QDQKeepRemovableActivations": True}
ERRORS_ONLY = 3  # of onnxruntime's levels of logging


class OnnxNetwork:
    """An ONNX model in onnxruntime, on the CPU."""

    def __init__(self, model: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = os.cpu_count() or 1
        self.session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Logits N×K of uint8 images N×C×H×W."""
        (logits,) = self.session.run([OUTPUT], {INPUT: images.contiguous().numpy()})
        return torch.from_numpy(np.asarray(logits))

    def over(self, images: Tensor) -> Tensor:
        """The same, of many images, in parts."""
        return torch.cat([self(part) for part in images.split(part_size(images))])


def part_size(images: Tensor) -> int:
    """How many images are computed at once."""
    return max(1, min(AT_ONCE, AT_ONCE * PIXELS // images[0].numel()))


def quantised(model: Any, images: Tensor) -> bytes:
    """The model with weights and activations of 8 bits (QDQ), by onnxruntime's static quantisation.

    model: an ONNX model of `onnx_of`.
    images: training images, uint8 N×C×H×W, whose activations give the ranges.

    Weights have a scale for each channel, and 7 of the 8 bits: x86 processors without VNNI add
    pairs of products in 16 bits, which 8 bits overflow (measured: 58 % became 19 % of right
    answers). The normalisation stays in floating point.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="convscope-") as folder, quiet():
        whole, prepared, made = (Path(folder, f"{name}.onnx") for name in ("a", "b", "c"))
        whole.write_bytes(without_batch_norm(model).SerializeToString())
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            made,
            reader_of(images),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=normalising_nodes(model),
            extra_options=dict(KEEP),
        )
        return made.read_bytes()


def reader_of(images: Tensor) -> Any:
    """What the quantiser takes its images from."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.parts: Iterator[Tensor] = iter(images.split(part_size(images)))

        def get_next(self) -> dict[str, Any] | None:  # pyright: ignore
            part = next(self.parts, None)
            return None if part is None else {INPUT: part.contiguous().numpy()}

    return Reader()
