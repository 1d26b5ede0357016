"""Image files become arrays of one size."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convscope.data.content import Pair, Progress
from convscope.data.folders import NUM_NAMED, File, Listing
from convscope.data.memory import refuse_what_does_not_fit
from convscope.errors import UserError, one_line

if TYPE_CHECKING:
    import PIL.Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # decoders that run no other program

GREY = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}

MAX_PIXELS = 50_000_000

MIN_SIDE, MAX_SIDE = 16, 64  # of the side that is chosen from the images

EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    grey: bool


def read_images(
    listing: Listing, size: int | None, progress: Progress | None
) -> tuple[dict[str, Pair], tuple[str, ...]]:
    """Decode a listed folder: split -> (uint8 N×H×W×C, labels), and notes.

    listing: the folder.
    size: side of the images in pixels; None chooses it from the images.
    progress: called with what is done, how much of it, and of how much.

    Raises UserError that names the bad files together, and where the images would not fit into
    free memory.
    """
    from PIL import Image

    Image.init()  # loads the decoders, before the threads start
    bad = {file: file.status for file in listing.files if file.status}
    with warnings.catch_warnings():
        # Pillow warns of oddities in metadata; what matters to us comes as an exception
        warnings.simplefilter("ignore")
        headers = _read_headers(listing, bad, progress)
        side, resized = _choose_side(list(headers.values()), size)
        decoded = _decode_all(listing, headers, side, bad, progress)
    if bad:
        raise UserError(_bad_files(listing, bad))
    splits: dict[str, Pair] = {}
    for split in {file.split: None for file in listing.files}:
        rows = np.array([file.split == split for file in listing.files])
        labels = np.array([file.label for file in listing.files], np.int64)
        splits[split] = (decoded if rows.all() else decoded[rows], labels[rows])
    if not resized:
        return splits, ()
    note = f"resized the images to {side}×{side} (shorter side, centre kept): {resized}"
    return splits, (note,)


def _read_headers(
    listing: Listing, bad: dict[File, str], progress: Progress | None
) -> dict[File, _Header]:
    """The headers of the readable files; `bad` is told of the others."""
    readable = [file for file in listing.files if not file.status]
    headers: dict[File, _Header] = {}
    read = _parallel(_read_header, readable, "reading headers", progress)
    for file, header in zip(readable, read, strict=True):
        if isinstance(header, str):
            bad[file] = header
        else:
            headers[file] = header
    return headers


def _decode_all(
    listing: Listing,
    headers: dict[File, _Header],
    side: int,
    bad: dict[File, str],
    progress: Progress | None,
) -> NDArray[np.uint8]:
    """All images as uint8 N×side×side×C, C = 1 where all are grey; `bad` is told of faults."""
    channels = 1 if all(header.grey for header in headers.values()) else 3
    refuse_what_does_not_fit(
        len(headers) * side * side * channels,
        f"{one_line(listing.root)}: {len(headers):,} images of {side}×{side}×{channels} take",
        "choose a smaller size",
    )
    decoded = np.empty((len(headers), side, side, channels), np.uint8)

    def decode(job: tuple[int, File]) -> str:
        return _decode(job[1], decoded[job[0]])

    faults = _parallel(decode, list(enumerate(headers)), "decoding", progress)
    bad |= {file: fault for file, fault in zip(headers, faults, strict=True) if fault}
    return decoded


def _bad_files(listing: Listing, bad: dict[File, str]) -> str:
    """The message that names the first of the bad files."""
    named = [f"{file.shown!r} ({bad[file]})" for file in listing.files if file in bad]
    more = f" and {len(named) - NUM_NAMED} more" if len(named) > NUM_NAMED else ""
    plural, them = ("s", "them") if len(named) > 1 else ("", "it")
    return (
        f"{one_line(listing.root)}: {len(named)} bad file{plural}: "
        f"{', '.join(named[:NUM_NAMED])}{more}; mend or remove {them}"
    )


def _choose_side(headers: list[_Header], size: int | None) -> tuple[int, str]:
    """The side of the squares, and what was resized ("" if all images have this size)."""
    if not headers:
        return size or MIN_SIDE, ""
    shapes = {(header.width, header.height) for header in headers}
    low, high = min(shapes), max(shapes)
    if size is None:
        if len(shapes) == 1 and low[0] == low[1] <= MAX_SIDE:
            return low[0], ""
        shorter = sorted(min(header.width, header.height) for header in headers)
        size = min(max(shorter[len(shorter) // 2] // 4 * 4, MIN_SIDE), MAX_SIDE)
    if shapes == {(size, size)}:
        return size, ""
    largest = "" if len(shapes) == 1 else f" to {high[0]}×{high[1]}"
    return size, f"they were {low[0]}×{low[1]}{largest}"


def _parallel(
    work: Callable[[Any], Any], jobs: list[Any], description: str, progress: Progress | None
) -> list[Any]:
    """work(job) for each job, in order, on a few threads: Pillow releases Python's lock."""
    results: list[Any] = []
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        for result in pool.map(work, jobs):
            results.append(result)
            if progress is not None:
                progress(description, len(results), len(jobs))
    finally:
        pool.shutdown(cancel_futures=True)
    return results


def _read_header(file: File) -> _Header | str:
    """Width, height and greyness, or what is wrong with the file."""
    from PIL import Image

    try:
        with Image.open(file.path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                return f"{image.width}×{image.height}, over {MAX_PIXELS // 1_000_000} megapixels"
            if image.width < 1 or image.height < 1:
                return "no pixels"
            return _Header(image.width, image.height, image.mode in GREY)
    except Exception as error:  # Pillow's decoders raise whatever the bytes lead them to
        return _fault(error)


def _decode(file: File, target: NDArray[np.uint8]) -> str:
    """Fill target (side×side×C) with the image; "" or what is wrong with the file."""
    from PIL import Image, ImageOps

    side, channels = target.shape[0], target.shape[2]
    try:
        with Image.open(file.path, formats=FORMATS) as opened:
            if max(opened.size) >= 4 * side:  # decode JPEG at a half, quarter or eighth
                opened.draft(None, (2 * side, 2 * side))
            opened.load()
            image = _to_mode(opened, channels)
            if image.size != (side, side):
                edge = min(image.size)
                left, top = (image.width - edge) / 2, (image.height - edge) / 2
                box = (left, top, left + edge, top + edge)
                image = image.resize((side, side), Image.Resampling.BICUBIC, box=box)
            orientation = _orientation(opened)
            if orientation in range(2, 9):
                image.getexif()[EXIF_ORIENTATION] = orientation
                image = ImageOps.exif_transpose(image)
            target[:] = np.asarray(image, np.uint8).reshape(side, side, channels)
            return ""
    except Exception as error:  # as above
        return _fault(error)


def _orientation(image: PIL.Image.Image) -> object:
    """EXIF's number from 1 to 8; 1, upright, where the metadata cannot be read."""
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # as above; the pixels are good all the same
        return 1


def _to_mode(image: PIL.Image.Image, channels: int) -> PIL.Image.Image:
    """8 bits, 1 or 3 channels: 16 bits scaled, transparency laid on white, all else converted."""
    from PIL import Image

    mode = "L" if channels == 1 else "RGB"
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_to_bytes(np.asarray(image)))
    elif image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _to_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """16-bit integers scaled so that 65,535 becomes 255; floating point from 0 to 1."""
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise UserError("floating-point values outside 0 to 1")
        return np.rint(values * 255).astype(np.uint8)
    wide = values.astype(np.int64)
    if wide.min() < 0 or wide.max() > 65_535:
        raise UserError("more than 16 bits per channel")
    return ((wide * 255 + 32_767) // 65_535).astype(np.uint8)


def _fault(error: Exception) -> str:
    """What is wrong with an image file, from what its decoder raised."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, Image.DecompressionBombError):
        return f"over {MAX_PIXELS // 1_000_000} megapixels"
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, OSError) and error.errno:
        return one_line(error.strerror, 60)
    return "truncated" if "truncated" in str(error).lower() else f"damaged: {one_line(error, 60)}"
