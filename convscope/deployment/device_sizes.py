"""Sizes of memory and numbers of multiply-adds, as users write them and as they are told."""

from __future__ import annotations

import re

from convscope.errors import UserError, one_line

KIB = 1024

BITS = (2, 4, 8, 16, 32)  # of weights and of values in feature maps

# of bytes; k and K are 1,024, as makers of microcontrollers count
UNITS = {"": 1, "b": 1, "k": KIB, "m": KIB**2, "g": KIB**3}

COUNTS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}

WRITTEN = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*)")

MOST = 10**15


def parse_size(text: str | int, name: str) -> int:
    """Bytes of "256k", "1M", "62.5 KiB", "320kB" or a number of bytes; k is 1,024.

    text: as the user wrote it.
    name: of the option, for the error.
    Raises UserError with both.
    """
    number, unit = parts_of(text)
    if len(unit) > 1:
        unit = unit[0] + unit[1:].removeprefix("i").removesuffix("b")
    if number is None or unit not in UNITS:
        raise UserError(
            f"{name} {one_line(text)!r}: write a size as 256k, 1M or 62.5KiB (k is 1,024 bytes)"
        )
    return within(round(number * UNITS[unit]), text, name, "a size", "byte")


def parse_count(text: str | int, name: str) -> int:
    """A number as "20M", "1.5G" or "500000"; k is 1,000. Raises UserError with the name."""
    number, unit = parts_of(text)
    if number is None or unit not in COUNTS:
        raise UserError(f"{name} {one_line(text)!r}: write a number as 20M, 500k or 1.5G")
    return within(round(number * COUNTS[unit]), text, name, "a number", "")


def parts_of(text: str | int) -> tuple[float | None, str]:
    """(number, unit in small letters); None for anything else."""
    found = WRITTEN.fullmatch(str(text).strip().lower())
    if isinstance(text, bool) or found is None or not found[0].isascii():
        return None, ""
    return float(found[1]), found[2]


def within(value: int, text: str | int, name: str, noun: str, unit: str) -> int:
    if not 1 <= value <= MOST:
        unit = f" {unit}" if unit else ""
        raise UserError(f"{name} {one_line(text)!r}: {noun} from 1{unit} to {MOST:,}")
    return value


def size_text(size: int) -> str:
    """As "512 bytes", "62.5 KiB", "1.2 MiB"."""
    if size < KIB:
        return f"{size} byte{'' if size == 1 else 's'}"
    if size < KIB**2:
        return f"{size / KIB:,.1f} KiB"
    return f"{size / KIB**2:,.2f} MiB"


def check_bits(bits: int) -> None:
    """UserError where no device computes with so many bits."""
    if bits not in BITS:
        raise UserError(f"bits = {one_line(bits)}: must be one of {', '.join(map(str, BITS))}")
