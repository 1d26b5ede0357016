"""Theoretical receptive fields of a network's layers, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from convscope.probes.trials import Shown

OUTPUT = "(output)"  # the row of what the network returns, where no layer returns it


@dataclass(frozen=True)
class FieldRow:
    """The theoretical receptive field of a layer's outputs, per spatial axis, in input pixels.

    name, kind: the layer's path and class; outputs: its output's shape, of one sample.
    sizes: not clipped to the image.
    strides: the distance between neighbouring outputs' fields; None after flattening or global
        pooling, where the field is the whole input.
    starts: the first input index of output 0, negative with padding.
    seen: with a check, the first and last input index that changed the middle output.
    agrees: with a check, whether this is what arithmetic says.
    """

    name: str
    kind: str
    outputs: tuple[int, ...]
    sizes: tuple[int, ...]
    strides: tuple[int | float | None, ...]
    starts: tuple[int, ...]
    seen: tuple[tuple[int, int] | None, ...] = ()
    agrees: bool | None = None

    @property
    def size(self) -> int | tuple[int, ...]:
        """One number where the axes agree."""
        return _one(self.sizes)

    @property
    def stride(self) -> Any:
        """One number, or None, where the axes agree."""
        return _one(self.strides)

    @property
    def start(self) -> int | tuple[int, ...]:
        """One number where the axes agree."""
        return _one(self.starts)

    @property
    def whole(self) -> bool:
        """Whether every output sees the whole input."""
        return all(stride is None for stride in self.strides)


def _one(values: tuple[Any, ...]) -> Any:
    return values[0] if len(set(values)) == 1 else values


@dataclass(frozen=True)
class FieldTable(Shown, Sequence[FieldRow]):
    """A row for each layer, in order of execution."""

    layers: tuple[FieldRow, ...]
    in_shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[FieldRow]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> FieldRow: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[FieldRow, ...]: ...
    def __getitem__(self, index: int | slice) -> FieldRow | tuple[FieldRow, ...]:
        return self.layers[index]

    def rows(self) -> list[tuple[str, ...]]:
        checked = any(row.agrees is not None for row in self.layers)
        last = ("by perturbation",) if checked else ()
        rows = [("layer", "kind", "field", "stride", "start", *last)]
        for row in self.layers:
            field = _show(row.sizes) + (" (whole input)" if row.whole else "")
            stride = "–" if row.whole else _show(row.strides)
            seen = "agrees" if row.agrees else f"differs: {row.seen}"
            last = ("not checked" if row.agrees is None else seen,) if checked else ()
            rows.append((row.name, row.kind, field, stride, _show(row.starts), *last))
        return rows


def _show(values: Sequence[int | float | None]) -> str:
    shown = ["–" if v is None else f"{v:g}" for v in values]
    return shown[0] if len(set(shown)) == 1 else "×".join(shown)
