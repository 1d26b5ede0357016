"""What a network's state dict holds beside tensors (`get_extra_state`), as tensors and JSON.

Nothing is pickled: a value becomes JSON in UTF-8, and the tensors and arrays in it stand beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convscope.errors import UserError, one_line

EXTRA = "extra."  # such values among a state's tensors: extra.NAME, and extra.NAME#I beside it
PLAIN = (str, int, float, bool, type(None))


def network_state(net: nn.Module) -> dict[str, Tensor]:
    """A network's state dict as named tensors: "net.NAME" of tensors, "extra.NAME" of the rest.

    Raises UserError for a value that is no tensor, number, text, list, tuple, dict or set.
    """
    found: dict[str, Tensor] = {}
    for name, value in net.state_dict().items():
        if isinstance(value, Tensor):
            found[f"net.{name}"] = value
        else:
            found |= packed_value(name, value)
    return found


def state_dict_from(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What `load_state_dict` takes, from what `network_state` gave."""
    found: dict[str, Any] = {
        name.removeprefix("net."): value
        for name, value in tensors.items()
        if name.startswith("net.")
    }
    for name in tensors:
        if name.startswith(EXTRA) and "#" not in name:
            found[name.removeprefix(EXTRA)] = unpacked_value(name, tensors)
    return found


def packed_value(name: str, value: object) -> dict[str, Tensor]:
    """A value as tensors: its JSON's bytes, and the tensors that it holds."""
    inside: list[Tensor] = []
    text = json.dumps(tree_of(name, value, inside))
    found = {f"{EXTRA}{name}": torch.tensor(list(text.encode()), dtype=torch.uint8)}
    return found | {f"{EXTRA}{name}#{i}": tensor for i, tensor in enumerate(inside)}


def unpacked_value(name: str, tensors: Mapping[str, Tensor]) -> Any:
    tree = json.loads(bytes(tensors[name].tolist()).decode())
    return value_of(tree, lambda i: tensors[f"{name}#{i}"])


def tree_of(name: str, value: Any, inside: list[Tensor]) -> Any:
    """A value as JSON: what JSON lacks is a list of its kind and content."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, Tensor | np.ndarray | np.generic):
        is_tensor = isinstance(value, Tensor)
        try:
            inside.append(value.detach() if is_tensor else torch.from_numpy(np.array(value)))
        except TypeError:
            raise refusal(name, value) from None
        kind = "tensor" if is_tensor else "array" if isinstance(value, np.ndarray) else "number"
        return [kind, len(inside) - 1]
    if type(value) is complex:
        return ["complex", [value.real, value.imag]]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, dict):
        pairs = [
            [tree_of(name, key, inside), tree_of(name, item, inside)] for key, item in value.items()
        ]
        return ["dict", pairs]
    for kind in (list, tuple, set):
        if type(value) is kind:
            return [kind.__name__, [tree_of(name, item, inside) for item in value]]
    raise refusal(name, value)


def refusal(name: str, value: object) -> UserError:
    return UserError(
        f"the network's state {one_line(name)!r} holds a {type(value).__name__}, which cannot be "
        "recorded; tensors, numbers, texts, lists, tuples, dicts and sets can"
    )


def value_of(tree: Any, tensor: Any) -> Any:
    """The value of `tree_of`; `tensor`: the tensor of a number."""
    if not isinstance(tree, list):
        return tree
    kind, content = tree
    if kind in ("tensor", "array", "number"):
        found = tensor(content)
        return (
            found if kind == "tensor" else found.numpy() if kind == "array" else found.numpy()[()]
        )
    if kind == "complex":
        return complex(*content)
    if kind == "bytes":
        return bytes.fromhex(content)
    items = [
        tuple(value_of(part, tensor) for part in item) if kind == "dict" else value_of(item, tensor)
        for item in content
    ]
    return {"dict": dict, "list": list, "tuple": tuple, "set": set}[kind](items)
