"""TIFF files of any number of channels and any type of values, which Pillow does not write."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

SHORT, LONG = 3, 4  # types of tags
FORMATS = {"u": 1, "i": 2, "f": 3}  # kind of numpy's type -> SampleFormat


def tiff(path: Path, values: np.ndarray, *, rgb: bool = False, apart: bool = False) -> None:
    """Write H×W or H×W×C values, uncompressed.

    rgb: whether the first three channels are called red, green and blue.
    apart: whether the channels lie one after another.
    """
    height, width, channels = values.reshape(*values.shape[:2], -1).shape
    laid = values.transpose(2, 0, 1) if apart else values
    content = np.ascontiguousarray(laid).tobytes()
    parts = channels if apart else 1
    bits, form = 8 * values.dtype.itemsize, FORMATS[values.dtype.kind]
    tags = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [bits] * channels),
        259: (SHORT, [1]),
        262: (SHORT, [2 if rgb else 1]),
        273: (LONG, [0] * parts),
        277: (SHORT, [channels]),
        278: (LONG, [height]),
        279: (LONG, [len(content) // parts] * parts),
        284: (SHORT, [2 if apart else 1]),
        338: (SHORT, [0] * (channels - (3 if rgb else 1))),
        339: (SHORT, [form] * channels),
    }
    tags = {tag: given for tag, given in tags.items() if given[1]}
    behind = 8 + 2 + 12 * len(tags) + 4
    long = sum(len(packed(*given)) for given in tags.values() if len(packed(*given)) > 4)
    tags[273] = (LONG, [behind + long + part * len(content) // parts for part in range(parts)])
    entries, extra = b"", b""
    for tag, (kind, numbers) in tags.items():
        body = packed(kind, numbers)
        place = body if len(body) <= 4 else struct.pack("<I", behind + len(extra))
        extra += body if len(body) > 4 else b""
        entries += struct.pack("<HHI", tag, kind, len(numbers)) + place.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    path.write_bytes(head + entries + b"\0" * 4 + extra + content)


def packed(kind: int, numbers: list[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}{'H' if kind == SHORT else 'I'}", *numbers)
