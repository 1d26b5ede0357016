"""Tensors on disk: safetensors with a hash of their content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.errors import UserError, one_line
from convscope.files import dump, write_bytes

if TYPE_CHECKING:
    from torch import Tensor


COMPLEX = "complex"  # metadata: the names of complex tensors, which are stored as pairs of reals


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    import torch
    from safetensors.torch import save

    if names := sorted(name for name, value in tensors.items() if value.is_complex()):
        metadata = {**metadata, COMPLEX: json.dumps(names)}
        pairs = {name: torch.view_as_real(tensors[name].resolve_conj()) for name in names}
        tensors = {**tensors, **pairs}
    digest = tensors_digest(tensors, metadata)
    write_bytes(path, save(tensors, {**metadata, "sha256": digest}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file of `write_tensors`.

    Raises UserError where the content is not what was written.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{one_line(path)}: {one_line(error)}") from None
    digest = metadata.pop("sha256", "")
    if digest != tensors_digest(tensors, metadata):
        raise UserError(f"{one_line(path)}: the content does not agree with its hash")
    for name in json.loads(metadata.pop(COMPLEX, "[]")):
        tensors[name] = torch.view_as_complex(tensors[name])
    return tensors, metadata


def read_tensor(path: Path, name: str) -> Tensor | None:
    """One tensor of a file whose content is known to be what was written; None without it.

    Raises UserError where the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor(name) if name in set(file.keys()) else None
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{one_line(path)}: {one_line(error)}") from None


def tensors_digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    import torch

    digest = hashlib.sha256(dump(metadata))
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
