"""Image files become arrays of one size."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convscope.data.folders import FORMATS, MAX_PIXELS, NUM_NAMED, File, Listing, Pair, Progress
from convscope.errors import UserError, one_line

if TYPE_CHECKING:
    import PIL.Image


GREY = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}

MIN_SIDE, MAX_SIDE = 16, 64  # of the side that is chosen from the images


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    grey: bool


def read_images(
    listing: Listing, size: int | None, progress: Progress | None
) -> tuple[dict[str, Pair], tuple[str, ...]]:
    """Decode a listed folder: split -> (uint8 N×H×W×C, labels), and the notes.

    Raises UserError that names the bad files together, and where the images would not fit into free memory.
    """
    from PIL import Image

    Image.init()  # loads the decoders, before the threads start
    shown = one_line(listing.root)
    bad = {file: file.status for file in listing.files if file.status}
    with (
        warnings.catch_warnings()
    ):  # Pillow warns of oddities in metadata; what matters to us comes as an exception
        warnings.simplefilter("ignore")
        readable = [file for file in listing.files if not file.status]
        headers: dict[File, _Header] = {}
        for file, header in zip(
            readable, _parallel(_read_header, readable, "reading headers", progress), strict=True
        ):
            if isinstance(header, str):
                bad[file] = header
            else:
                headers[file] = header
        side, resized = _choose_side(list(headers.values()), size)
        channels = 1 if all(header.grey for header in headers.values()) else 3
        needed, free = len(headers) * side * side * channels, free_memory()
        if free is not None and needed > free:
            takes = (
                f"{len(headers):,} images of {side}×{side}×{channels} take {needed / 1e9:,.1f} GB"
            )
            raise UserError(
                f"{shown}: {takes}, and {free / 1e9:,.1f} GB of memory are free; choose a smaller size"
            )
        decoded = np.empty((len(headers), side, side, channels), np.uint8)

        def decode(job: tuple[int, File]) -> str:
            return _decode(job[1], decoded[job[0]])

        for file, fault in zip(
            headers, _parallel(decode, list(enumerate(headers)), "decoding", progress), strict=True
        ):
            if fault:
                bad[file] = fault
    if bad:
        named = [f"{file.shown!r} ({bad[file]})" for file in listing.files if file in bad]
        more = f" and {len(named) - NUM_NAMED} more" if len(named) > NUM_NAMED else ""
        count = f"{len(named)} bad file{'s' if len(named) > 1 else ''}"
        raise UserError(
            f"{shown}: {count}: {', '.join(named[:NUM_NAMED])}{more}; mend or remove {'them' if len(named) > 1 else 'it'}"
        )
    splits: dict[str, Pair] = {}
    for split in {file.split: None for file in listing.files}:
        rows = np.array([file.split == split for file in listing.files])
        labels = np.array([file.label for file in listing.files], np.int64)
        splits[split] = (decoded if rows.all() else decoded[rows], labels[rows])
    return splits, (
        (f"resized the images to {side}×{side} (shorter side, centre kept): {resized}",)
        if resized
        else ()
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
    return size, f"they were {low[0]}×{low[1]}" + (
        "" if len(shapes) == 1 else f" to {high[0]}×{high[1]}"
    )


def _parallel(
    work: Callable[[Any], Any], jobs: list[Any], description: str, progress: Progress | None
) -> list[Any]:
    """work(job) for each job, in order, on a few threads: Pillow releases the interpreter's lock while it decodes."""
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
    """Fill target (S×S×C) with the image; "" or what is wrong with the file."""
    from PIL import Image, ImageOps

    side, channels = target.shape[0], target.shape[2]
    try:
        with Image.open(file.path, formats=FORMATS) as opened:
            if max(opened.size) >= 4 * side:
                opened.draft(
                    None, (2 * side, 2 * side)
                )  # JPEG: decode at a half, quarter or eighth where that is enough
            opened.load()
            image = _to_mode(opened, channels)
            if image.size != (side, side):
                edge = min(image.size)
                left, top = (image.width - edge) / 2, (image.height - edge) / 2
                image = image.resize(
                    (side, side), Image.Resampling.BICUBIC, box=(left, top, left + edge, top + edge)
                )
            orientation = _orientation(opened)
            if orientation in range(2, 9):
                image.getexif()[0x0112] = orientation
                image = ImageOps.exif_transpose(image)
            target[:] = np.asarray(image, np.uint8).reshape(side, side, channels)
            return ""
    except Exception as error:  # as above
        return _fault(error)


def _orientation(image: PIL.Image.Image) -> object:
    """EXIF's number from 1 to 8; 1, upright, where the metadata can't be read: the pixels are good all the same."""
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:  # as above
        return 1


def _to_mode(image: PIL.Image.Image, channels: int) -> PIL.Image.Image:
    """8 bits, 1 or 3 channels: 16 bits scaled, transparency laid on white, CMYK and palettes converted."""
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
        raise UserError("more than 16 bits a channel")
    return ((wide * 255 + 32_767) // 65_535).astype(np.uint8)


def _fault(error: Exception) -> str:
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


def free_memory() -> int | None:
    """Bytes that can be allocated without swapping, within the control group's limit; None where it can't be told."""
    free: list[int] = []
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        free += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")
        free.append(
            int((group / "memory.max").read_text("ascii"))
            - int((group / "memory.current").read_text("ascii"))
        )
    except (OSError, ValueError):  # not Linux, no limit ("max"), or no control group
        pass
    return min(free) if free else None
