"""Tensors on disk: safetensors with a hash of their content."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.errors import UserError, one_line
from convscope.files import dump, write_bytes

if TYPE_CHECKING:
    from torch import Tensor


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    from safetensors.torch import save

    digest = tensors_digest(tensors, metadata)
    write_bytes(path, save(tensors, {**metadata, "sha256": digest}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file of `write_tensors`.

    Raises UserError where the content is not what was written.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{one_line(path)}: {one_line(error)}") from None
    digest = metadata.pop("sha256", "")
    if digest != tensors_digest(tensors, metadata):
        raise UserError(f"{one_line(path)}: the content does not agree with its hash")
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
