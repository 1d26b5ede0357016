"""ONNX files. The only file that imports onnx, which the extra `export` brings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from convscope.deployment.graph import TRIED, not_exported, quiet
from convscope.deployment.onnx_folding import Folding
from convscope.errors import UserError
from convscope.models import RAISED

OPSET = 18
INPUT, OUTPUT, BATCH = "images", "logits", "N"
NORMALISATION = ("Cast", "Sub", "Mul")  # the first operators, in this order

EXTRA = ("onnx", "onnxscript", "onnxruntime")
INSTALL = "python -m pip install 'convscope[export]'"


def check_installed() -> None:
    """UserError that says how to install what is missing."""
    import importlib.util

    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX needs {', '.join(missing)}: {INSTALL}, or leave it out (--no-onnx, onnx=False)"
        )


def onnx_of(
    program: Any, in_shape: tuple[int, int, int], name: str, about: Mapping[str, str]
) -> Any:
    """The network as an ONNX model: uint8 `images` N×C×H×W to float `logits` N×K, N free.

    program: a `torch.export.ExportedProgram` of `graph_of`.
    in_shape: channels, height and width.
    name: of the network, for messages.
    about: the model's metadata.

    Raises UserError with what torch's exporter says of a network that it does not take.
    """
    import onnx

    images = torch.zeros(TRIED, *in_shape, dtype=torch.uint8)
    try:
        with quiet():
            made = torch.onnx.export(
                program,
                (images,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                verbose=False,
            )
            assert made is not None
            model = made.model_proto
    except RAISED as error:
        raise not_exported(name, error) from error
    tidy(model)
    onnx.helper.set_model_props(model, dict(about))
    onnx.checker.check_model(model)
    return model


def tidy(model: Any) -> None:
    """Name the free dimension, and drop what the exporter notes: it holds paths of this machine."""
    graph = model.graph
    free = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == free:
                dim.dim_param = BATCH
        del value.metadata_props[:]
    for part in (model, graph, *graph.node, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def without_batch_norm(model: Any) -> Any:
    """A copy whose batch normalisations are part of its convolutions."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    Folding(copy, onnx).fold()
    onnx.checker.check_model(copy)
    return copy


def opset_of(model: Any) -> int:
    """The version of ONNX's own operators."""
    return next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))


def normalising_nodes(model: Any) -> list[str]:
    """The names of the operators that normalise the images, which stay in floating point."""
    found, value = [], INPUT
    for kind in NORMALISATION:
        node = next((n for n in model.graph.node if value in n.input and n.op_type == kind), None)
        if node is None:
            break
        found.append(node.name)
        value = node.output[0]
    return found
