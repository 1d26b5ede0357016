"""One image file: what its header says, and its pixels as bytes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from convscope.data.colour_keys import count_in_bytes, opaque, wide_key, with_alpha
from convscope.data.depth import Scale
from convscope.data.sniffing import what_it_is
from convscope.data.tiff_kinds import fault_in_planes, left_out
from convscope.errors import UserError, one_line

if TYPE_CHECKING:
    import PIL.Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # decoders that run no other program

GREY = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}

ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")

# Pillow logs faults that it raises as well; without a handler they would go to standard error
logging.getLogger("PIL").addHandler(logging.NullHandler())

MAX_PIXELS = 50_000_000
MAX_JPEG = 170_000_000  # these are decoded at a half or less of their sides; cameras have 108

EXIF_ORIENTATION = 0x0112
BITS_PER_SAMPLE = 258  # of TIFF
PHOTOMETRIC = 262  # of TIFF: 0 where 0 is white
SAMPLE_FORMAT = 339  # of TIFF: 1 is without a sign, and is meant where it says nothing

Resize = Literal["crop", "squash", "pad"]

KINDS = {  # mode -> in words
    "1": "black and white",
    "L": "grey",
    "LA": "grey with transparency",
    "P": "palette",
    "PA": "palette with transparency",
    "RGBA": "RGB with transparency",
    "I": "grey, 16 or 32 bits",
    "F": "grey, floating point",
}

# what the unpacker of 16 bits is called that takes the other byte of each value
SWAPPED = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded.

    width: in pixels, as stored.
    height: in pixels, as stored.
    grey: whether it has one channel.
    format: as PNG.
    kind: its pixels in words.
    several: whether it holds more than one frame or page.
    depth: which values need a scale: "" for none, else "grey", "floating-point" or "RGB".
    bits: how many the file says that a value has; 0 where it says nothing.
    left_out: how many channels are not read: those of a TIFF file behind the first three.
    """

    width: int
    height: int
    grey: bool
    format: str
    kind: str
    several: bool
    depth: str
    bits: int
    left_out: int = 0


def read_header(path: Path) -> Header | str:
    """The header of an image file, or what is wrong with the file."""
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            if fault := _fault_in_form(image):
                return fault
            mode, depth = image.mode, _depth_of(image)
            kind, shaded = KINDS.get(mode, mode), _is_wide_grey_alpha(image)
            if depth and mode not in ("F", "I", "L"):
                kind = f"{depth}, 16 bits"
            if shaded or (mode not in ALPHA and "transparency" in image.info):
                kind += " with transparency"
            return Header(
                *image.size,
                mode in GREY or shaded,
                str(image.format),
                kind,
                _holds_several(image),
                depth,
                _stated_bits(image) if depth else 0,
                left_out(image),
            )
    except Exception as error:  # Pillow's decoders raise whatever the bytes lead them to
        return fault_of(error, path)


def read_values(path: Path) -> NDArray[Any] | str:
    """The values of an image with more than 8 bits, alpha left out, or what is wrong with it."""
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            if _is_wide_grey_alpha(image):
                return _grey_and_alpha(image)[0]
            key = wide_key(image)
            values = _values(image)[..., :3] if _depth_of(image) == "RGB" else _grey(image)
            shown = np.ones(1, np.bool_) if key is None else opaque(values, key)
            return values if shown.all() or not shown.any() else values[shown]
    except Exception as error:  # as above
        return fault_of(error)


def decode(
    path: Path, target: NDArray[np.uint8], resize: Resize, scales: Mapping[str, Scale]
) -> tuple[str, bool]:
    """Fill target (H×W×C) with an image.

    Returns "" or what is wrong with the file, and whether its EXIF data turned or mirrored it.

    path: the file, whose header was read and is good.
    target: c is 1 or 3.
    resize: what becomes of images that are not square.
    scales: depth of the header -> its scale.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as opened:
            return "", _fill(target, opened, resize, scales)
    except Exception as error:  # as above
        return fault_of(error), False


def decode_new(
    path: Path, target: NDArray[np.uint8], resize: Resize, scales: Mapping[str, Scale]
) -> tuple[str, str]:
    """As `decode`, of a file whose header was not read: the fault, and the depth of its values."""
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as opened:
            if fault := _fault_in_form(opened):
                return fault, ""
            depth = _depth_of(opened)
            _fill(target, opened, resize, scales)
            return "", depth
    except Exception as error:  # as above
        return fault_of(error), ""


def _fault_in_form(image: PIL.Image.Image) -> str:
    """What is wrong with an image by its header alone."""
    most = MAX_JPEG if image.format in ("JPEG", "MPO") else MAX_PIXELS
    if image.width * image.height > most:
        return f"{image.width}×{image.height}, over {most // 1_000_000} megapixels"
    if image.width < 1 or image.height < 1:
        return "no pixels"
    return fault_in_planes(image)


def _fill(
    target: NDArray[np.uint8],
    opened: PIL.Image.Image,
    resize: Resize,
    scales: Mapping[str, Scale],
) -> bool:
    """Fill target (H×W×C) with an opened image; whether it was turned or mirrored.

    Raises what Pillow's decoders raise.
    """
    from PIL import ImageOps

    height, width, channels = target.shape
    side = max(height, width)
    count_in_bytes(opened)
    if max(opened.size) >= 4 * side:  # decode JPEG at a half, quarter or eighth
        opened.draft(None, (2 * side, 2 * side))
    depth = _depth_of(opened)
    if depth and depth in scales:
        image = _scaled(opened, depth, scales[depth])
    else:
        opened.load()
        image = opened
    orientation = _orientation(opened)
    size = (height, width) if orientation in range(5, 9) else (width, height)
    image = resized(_to_mode(image, channels), size, resize)
    turned = orientation in range(2, 9)
    if turned:
        image.getexif()[EXIF_ORIENTATION] = orientation
        image = ImageOps.exif_transpose(image)
    target[:] = np.asarray(image, np.uint8).reshape(target.shape)
    return turned


def resized(image: PIL.Image.Image, size: tuple[int, int], resize: Resize) -> PIL.Image.Image:
    """The image in this size, width and height: of a data set of files a square.

    crop: the image is resized until it covers the size, the centre is kept. squash: both sides are
    resized, the aspect ratio changes. pad: it is resized until it fits, black bars fill the rest.
    """
    from PIL import Image

    width, height = image.size
    if (width, height) == size:
        return image
    if resize == "pad" and width * size[1] != height * size[0]:
        scale = min(size[0] / width, size[1] / height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        whole = Image.new(image.mode, size)
        corner = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
        whole.paste(image.resize(inner, Image.Resampling.BICUBIC), corner)
        return whole
    kept = min(width, height * size[0] / size[1]), min(height, width * size[1] / size[0])
    left, top = (width - kept[0]) / 2, (height - kept[1]) / 2
    crop = (left, top, left + kept[0], top + kept[1])
    box = (0, 0, width, height) if resize == "squash" else crop
    return image.resize(size, Image.Resampling.BICUBIC, box=box)


def _holds_several(image: PIL.Image.Image) -> bool:
    """Whether there is more than one frame or page, as far as can be read."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a later frame is damaged; the first one may be good
        return True


def _depth_of(image: PIL.Image.Image) -> str:
    """Which of the scales the values need; "" for 8 bits or fewer without a sign."""
    if image.mode.startswith("I") or _has_signed_bytes(image) or _is_wide_grey_alpha(image):
        return "grey"
    if image.mode == "F":
        return "floating-point"
    return "RGB" if image.mode in ("RGB", "RGBA") and _wide_tiles(image) else ""


def _wide_tiles(image: PIL.Image.Image) -> bool:
    """Whether colours are stored with 16 bits, of which Pillow keeps the upper 8."""
    modes = _raw_modes(image)
    return bool(modes) and all(
        mode.startswith("RGB") and mode.rpartition(";")[2] in SWAPPED for mode in modes
    )


def _is_wide_grey_alpha(image: PIL.Image.Image) -> bool:
    """Whether it is grey with transparency, 16 bits each: Pillow makes RGBA of the upper bytes."""
    modes = _raw_modes(image) if image.mode == "RGBA" else []
    return bool(modes) and set(modes) == {"LA;16B"}


def _grey_and_alpha(image: PIL.Image.Image) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """All 16 bits of the grey values and the upper 8 of the transparency.

    The four bytes of a pixel are read as if they were red, green, blue and alpha.
    """
    from PIL import Image

    name = image.filename  # pyright: ignore[reportAttributeAccessIssue]
    with Image.open(name, formats=FORMATS) as other:
        other.tile = [tile._replace(args="RGBA") for tile in list[Any](other.tile)]
        pixels = np.asarray(other)
    return pixels[..., 0].astype(np.uint16) * np.uint16(256) + pixels[..., 1], pixels[..., 2]


def _raw_modes(image: PIL.Image.Image) -> list[str]:
    """The names of the unpackers that its tiles are read with."""
    return [_raw_mode(tile) for tile in image.tile]  # pyright: ignore[reportAttributeAccessIssue]


def _raw_mode(tile: Any) -> str:
    """The name of the unpacker that a tile of Pillow is read with."""
    raw = tile[3] if isinstance(tile[3], str) else tile[3][0] if tile[3] else ""
    return str(raw)


def _values(image: PIL.Image.Image) -> NDArray[np.uint16]:
    """All 16 bits of the colours: the image is read twice, for the upper and the lower bytes."""
    from PIL import Image

    name = image.filename  # pyright: ignore[reportAttributeAccessIssue]
    with Image.open(name, formats=FORMATS) as other:
        tiles = []
        for tile in list[Any](other.tile):
            start, _, order = _raw_mode(tile).rpartition(";")
            raw = f"{start};{SWAPPED[order]}"
            given = (raw, *tile[3][1:]) if isinstance(tile[3], tuple) else raw
            tiles.append(tile._replace(args=given))
        other.tile = tiles
        lower = np.asarray(other)
    return np.asarray(image).astype(np.uint16) * np.uint16(256) + lower


def _scaled(image: PIL.Image.Image, depth: str, scale: Scale) -> PIL.Image.Image:
    """The image with its values as bytes."""
    from PIL import Image

    if _is_wide_grey_alpha(image):
        grey, alpha = _grey_and_alpha(image)
        return Image.fromarray(np.dstack([scale.to_bytes(grey), alpha]))
    key = wide_key(image)
    if depth != "RGB":
        grey = _grey(image)
        if key is not None:
            return with_alpha(scale.to_bytes(grey), opaque(grey, key))
        return Image.fromarray(scale.to_bytes(grey))
    if (scale.low, scale.high) == (0, 65_535) and key is None:  # the upper bytes, kept by Pillow
        image.load()
        return image
    values = _values(image)
    pixels = scale.to_bytes(values[..., :3])
    if key is not None:
        return with_alpha(pixels, opaque(values[..., :3], key))
    if image.mode == "RGBA":
        pixels = np.dstack([pixels, (values[..., 3] >> 8).astype(np.uint8)])
    return Image.fromarray(pixels)


def _grey(image: PIL.Image.Image) -> NDArray[Any]:
    """The values as a TIFF file means them; Pillow looks neither at all signs nor at its white."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if _has_signed_bytes(image):
        values = values.view(np.int8)
    elif tags and values.dtype == np.int32 and set(tags.get(SAMPLE_FORMAT, (1,))) == {1}:
        values = values.view(np.uint32)
    if tags.get(PHOTOMETRIC) == 0 and values.dtype == np.uint16:  # 0 is white
        values = np.uint16(65_535) - values
    return values


def _has_signed_bytes(image: PIL.Image.Image) -> bool:
    tags = getattr(image, "tag_v2", {})
    return image.mode == "L" and set(tags.get(SAMPLE_FORMAT, (1,))) == {2}


def _stated_bits(image: PIL.Image.Image) -> int:
    """How many bits a value has by the header of a TIFF file; 0 elsewhere."""
    try:
        return int(image.tag_v2[BITS_PER_SAMPLE][0])  # pyright: ignore[reportAttributeAccessIssue]
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return 0


def _orientation(image: PIL.Image.Image) -> object:
    """EXIF's number from 1 to 8; 1, upright, where the metadata cannot be read."""
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # as above; the pixels are good all the same
        return 1


def _to_mode(image: PIL.Image.Image, channels: int) -> PIL.Image.Image:
    """8 bits, 1 or 3 channels: transparency is laid on white, all else converted."""
    from PIL import Image

    if image.mode in ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


def fault_of(error: Exception, path: Path | None = None) -> str:
    """What is wrong with an image file, from what its decoder raised and its first bytes."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, Image.DecompressionBombError):
        return f"over {MAX_PIXELS // 1_000_000} megapixels"
    if isinstance(error, UnidentifiedImageError):
        found = "" if path is None else what_it_is(path)
        known = found.startswith(": TIFF")
        return found.removeprefix(": ") if known else f"not an image of a known format{found}"
    if isinstance(error, OSError) and error.errno:
        return one_line(os.strerror(error.errno), 60)
    return "truncated" if "truncated" in str(error).lower() else f"damaged: {one_line(error, 60)}"
