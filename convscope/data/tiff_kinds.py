"""TIFF files that are not read, or not whole: what they hold, and what to save them as."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import PIL.Image

BITS_PER_SAMPLE, COMPRESSION, SAMPLES, PLANES, SAMPLE_FORMAT = 258, 259, 277, 284, 339

FLOATING, COMPLEX = 3, (5, 6)  # values of SAMPLE_FORMAT

BIG = 43  # the number in the header of a file with addresses of 64 bits

REMEDY = "save 1 or 3 channels of 8 or 16 bits as PNG"


def tiff_told(path: Path) -> str:
    """What a TIFF file holds that is not read, and what to do; "" where its tags are broken."""
    from PIL import TiffImagePlugin

    try:
        with open(path, "rb") as file:
            head = file.read(8)
            head += file.read(8) if head[2] == BIG or head[3] == BIG else b""
            tags = TiffImagePlugin.ImageFileDirectory_v2(head)
            file.seek(tags.next)
            tags.load(file)
            compression = int(tags.get(COMPRESSION, 1))
            if compression not in TiffImagePlugin.COMPRESSION_INFO:
                return f"TIFF with compression {compression}, which is not read; save it as PNG"
            return told(tags)
    except Exception:  # broken tags lead to whatever they lead to
        return ""


def told(tags: Mapping[int, Any]) -> str:
    """The channels and bits of a TIFF file by its tags, and what to save it as."""
    samples, bits = int(tags.get(SAMPLES, 1)), int(tags.get(BITS_PER_SAMPLE, (1,))[0])
    form = int(tags.get(SAMPLE_FORMAT, (1,))[0])
    channels = "1 channel" if samples == 1 else f"{samples} channels"
    kind = "floating-point " if form == FLOATING else "complex " if form in COMPLEX else ""
    apart = ", one after another" if samples > 1 and tags.get(PLANES) == 2 else ""
    alone = samples == 1 and form == FLOATING
    remedy = "save its values with 32 bits" if alone else REMEDY
    return f"TIFF of {channels} of {bits} {kind}bits{apart}, which is not read; {remedy}"


def fault_in_planes(image: PIL.Image.Image) -> str:
    """What is wrong with an opened file whose channels lie one after another in wide values.

    Pillow reads the bytes of such a file as if each were a value.
    """
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    apart = tags.get(PLANES) == 2 and int(tags.get(SAMPLES, 1)) > 1
    return told(tags) if apart and tags.get(BITS_PER_SAMPLE, (1,))[0] != 8 else ""


def left_out(image: PIL.Image.Image) -> int:
    """How many channels of an opened TIFF file Pillow does not read; 0 elsewhere."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    return max(0, int(tags.get(SAMPLES, 1)) - len(image.getbands())) if tags else 0
