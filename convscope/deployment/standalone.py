"""One Python file that computes a network with torch and safetensors alone.

It is written from the graph of operators that torch's exporter gives, line by line.
"""

from __future__ import annotations

from typing import Any

import torch

from convscope.deployment.graph import stored_names
from convscope.errors import UserError, one_line
from convscope.training import ImageFormat

INDENT, COLUMNS = " " * 8, 100
NAMESPACES = ("aten", "prims")  # of operators that torch brings

HEAD = '''"""{title}

Needs torch and safetensors, and model.safetensors beside it:

    import network
    net = network.load()
    logits = net(images)  # N×{shape}, uint8, or floating point from 0 to 1
    names = [network.CLASSES[k] for k in logits.argmax(1)]

Written by convscope {version} from run {run}.
"""

import operator
from pathlib import Path

import torch
from safetensors.torch import load_file

aten, prims = torch.ops.aten, torch.ops.prims

CLASSES = {classes}
IN_SHAPE = {in_shape}  # channels, height, width


class Network(torch.nn.Module):
    """Images N×{shape} to logits N×{num_classes}; pixels are normalised inside."""

    def __init__(self, weights):
        super().__init__()
        self.names = dict(enumerate(weights))
        for i, value in enumerate(weights.values()):
            self.register_buffer(f"weight{{i}}", value)

    def forward(self, images):
        if images.ndim != 4 or tuple(images.shape[1:]) != IN_SHAPE:
            raise ValueError(f"images of shape {{tuple(images.shape)}}: must be N, *{{IN_SHAPE}}")
        if images.is_floating_point():
            images = images * 255
        elif images.dtype != torch.uint8:
            raise ValueError(f"images of {{images.dtype}}: must be uint8, or floating point")
        w = {{name: getattr(self, f"weight{{i}}") for i, name in self.names.items()}}
        device = images.device
'''

TAIL = '''

def load(folder=None):
    """The trained network, in eval mode, with the weights of a folder; without it, of this one."""
    file = Path(folder or Path(__file__).parent) / "model.safetensors"
    return Network(load_file(file)).eval()
'''


def source_of(program: Any, images: ImageFormat, title: str, version: str, run: str) -> str:
    """The file's text.

    program: a `torch.export.ExportedProgram` of `graph_of`.
    images: what the network takes.
    title: a sentence on the network.
    version: of convscope.
    run: its id.

    Raises UserError for operators that torch alone does not bring.
    """
    lines = []
    place = ""
    for node in program.graph.nodes:
        if node.op == "call_function" and not is_check(node):
            if (now := module_of(node)) != place:
                place = now
                lines.append(f"        # {one_line(place, 80)}")
            lines += call_of(node, program)
        elif node.op == "output":
            (answer,) = node.args[0]
            lines.append(f"        return {text_of(answer, program)}")
        elif node.op not in ("placeholder", "call_function"):
            raise not_alone(node.target)
    shape = "×".join(map(str, images.in_shape))
    head = HEAD.format(
        title=one_line(title).replace('"', "'").replace("\\", "/"),
        shape=shape,
        version=version,
        run=run,
        classes=repr(images.classes),
        in_shape=repr(images.in_shape),
        num_classes=images.num_classes,
    )
    return head + "\n".join(lines) + "\n" + TAIL


def is_check(node: Any) -> bool:
    """Whether a node computes nothing: it asserts what the exporter has assumed."""
    return "assert" in str(node.target) or "sym_constrain" in str(node.target)


def module_of(node: Any) -> str:
    """The path of the module that a node belongs to; "input" for what stands before the network."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if "network" in str(path)]
    path = str(paths[-1]) if paths else ""
    return path.rpartition("network.")[2] if "network." in path else "network" if path else "input"


def call_of(node: Any, program: Any) -> list[str]:
    """The line that calls a node's operator; several where one would be too long."""
    parts = [text_of(value, program) for value in node.args]
    parts += [f"{name}={text_of(value, program)}" for name, value in node.kwargs.items()]
    start = f"{INDENT}{node.name} = {function_of(node.target)}("
    line = f"{start}{', '.join(parts)})"
    if len(line) <= COLUMNS:
        return [line]
    return [start, *(f"{INDENT}    {part}," for part in parts), f"{INDENT})"]


def function_of(target: Any) -> str:
    if isinstance(target, torch._ops.OpOverload):
        name = str(target)  # as aten.conv2d.default
        if name.partition(".")[0] in NAMESPACES:
            return name
    elif getattr(target, "__module__", "") in ("_operator", "operator"):
        return f"operator.{target.__name__}"
    elif getattr(target, "__module__", "") == "torch" or target in (torch.sym_max, torch.sym_min):
        return f"torch.{target.__name__}"
    raise not_alone(target)


def not_alone(target: Any) -> UserError:
    return UserError(
        f"no stand-alone file: the network uses {one_line(target, 80)}, which torch alone has not"
    )


def text_of(value: Any, program: Any) -> str:
    """A node's argument as Python writes it."""
    if isinstance(value, torch.fx.Node):
        names = {
            **program.graph_signature.inputs_to_parameters,
            **program.graph_signature.inputs_to_buffers,
            **program.graph_signature.inputs_to_lifted_tensor_constants,
        }
        if value.name not in names:
            return "images" if value.op == "placeholder" else value.name
        return f'w["{stored_names(program)[names[value.name]]}"]'
    if isinstance(value, list | tuple):
        inside = ", ".join(text_of(one, program) for one in value)
        if isinstance(value, list):
            return f"[{inside}]"
        return f"({inside},)" if value else "()"
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        return f'float("{value}")'
    if isinstance(value, torch.device):
        return "device"
    if value is None or isinstance(
        value, int | float | str | torch.dtype | torch.layout | torch.memory_format
    ):
        return repr(value)
    raise not_alone(type(value).__name__)
