"""Image files become arrays of one size."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.data.content import Pair, Progress
from convscope.data.depth import Extent, Scale, extent_of, scale_of
from convscope.data.listing import NUM_NAMED, File, Listing, quoted
from convscope.data.memory import refuse_what_does_not_fit
from convscope.data.pixels import Header, Resize, decode, fault_of, read_header, read_values
from convscope.data.preview import Preview, preview_of
from convscope.errors import UserError, one_line

MIN_SIDE, MAX_SIDE = 16, 64  # of the side that is chosen from the images

AT_ONCE = 32  # files that a thread takes

READING = 6  # revision of the way from files to pixels: another one is decoded anew

RULES = {  # of resizing -> in words
    "crop": "shorter side, centre kept",
    "squash": "both sides, aspect ratios change",
    "pad": "longer side, black bars",
}


@dataclass(frozen=True)
class Images:
    """What was decoded.

    splits: split -> (uint8 N×H×W×C, labels).
    notes: what is to be said of it, sentences without the full stop.
    preview: what the files were.
    scales: depth of an image's values -> the range that became 0 … 255.
    """

    splits: dict[str, Pair]
    notes: tuple[str, ...]
    preview: Preview
    scales: Mapping[str, Scale]


def read_images(
    listing: Listing, size: int | None, progress: Progress | None, resize: Resize = "crop"
) -> Images:
    """Decode listed images.

    listing: the images.
    size: side of the images in pixels; None chooses it from the images.
    progress: called with what is done, how much of it, and of how much.
    resize: what becomes of images that are not square.

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
        scales = _scales(headers, bad, progress)
        decoded, turned = _decode_all(listing, headers, side, bad, progress, resize, scales)
    if bad:
        raise UserError(_bad_files(listing, bad))
    if resized:
        resized = f"resized the images to {side}×{side} ({RULES[resize]}): {resized}"
    splits: dict[str, Pair] = {}
    for split in {file.split: None for file in listing.files}:
        rows = np.array([file.split == split for file in listing.files])
        labels = np.array([file.label for file in listing.files], np.int64)
        splits[split] = (decoded if rows.all() else decoded[rows], labels[rows])
    found = list(headers.values())
    notes = (*_notes(found, turned), *(scale.said for scale in scales.values()), resized)
    notes += (_flat(listing, decoded, found),)
    preview = preview_of(listing.rule, found, resized, listing.skipped)
    return Images(splits, tuple(note for note in notes if note), preview, scales)


def _notes(headers: Sequence[Header], turned: int) -> tuple[str, ...]:
    """What is to be said of frames, channels left out, grey images among colours, and turns."""
    several = [header.format for header in headers if header.several]
    grey = sum(header.grey for header in headers)
    notes = []
    if several:
        formats = ", ".join(sorted(set(several)))
        one = len(several) == 1
        said = f"{len(several):,} file{' holds' if one else 's hold'} several frames or pages"
        notes.append(f"{said} ({formats}): the first one is read")
    if partly := [header for header in headers if header.left_out]:
        some = "1 image has" if len(partly) == 1 else f"{len(partly):,} images have"
        notes.append(
            f"{some} more channels than red, green and blue (TIFF): the first three are read as "
            "these"
        )
    if 0 < grey < len(headers):
        notes.append(
            f"{grey:,} of {len(headers):,} images are grey: their three channels are equal"
        )
    if turned:
        verb = "is" if turned == 1 else "are"
        notes.append(f"{turned:,} of {len(headers):,} images {verb} turned as their EXIF data say")
    return tuple(notes)


def _flat(listing: Listing, decoded: NDArray[np.uint8], headers: Sequence[Header]) -> str:
    """What is to be said of images of one colour alone, such as white figures laid on white."""
    if decoded.shape[1] == 1 or not len(decoded):
        return ""
    rows = decoded.reshape(len(decoded), -1, decoded.shape[-1])
    flat = np.flatnonzero((rows.max(axis=1) == rows.min(axis=1)).all(axis=1)).tolist()
    if not flat:
        return ""
    laid = any("transparency" in headers[row].kind for row in flat)
    which = f"{len(flat):,} of {len(decoded):,} images"
    return (
        f"{which} {'is' if len(flat) == 1 else 'are'} of one colour alone, as "
        f"{listing.files[flat[0]].shown!r}{': transparency is laid on white' if laid else ''}"
    )


def _read_headers(
    listing: Listing, bad: dict[File, str], progress: Progress | None
) -> dict[File, Header]:
    """The headers of the readable files; `bad` is told of the others."""
    readable = [file for file in listing.files if not file.status]
    headers: dict[File, Header] = {}
    paths = [file.path for file in readable]
    read = in_parallel(read_header, paths, "reading headers", progress)
    for file, header in zip(readable, read, strict=True):
        if isinstance(header, str):
            bad[file] = header
        else:
            headers[file] = header
    return headers


def _scales(
    headers: Mapping[File, Header], bad: dict[File, str], progress: Progress | None
) -> dict[str, Scale]:
    """Depth -> the range of its values in all images; `bad` is told of faults."""
    wide = [(file, header) for file, header in headers.items() if header.depth]

    def extent(job: tuple[File, Header]) -> Extent | str:
        values = read_values(job[0].path)
        try:
            return values if isinstance(values, str) else extent_of(values, len(wide), job[1].bits)
        except UserError as error:
            return fault_of(error)

    extents: dict[str, list[Extent]] = {}
    for (file, header), found in zip(
        wide, in_parallel(extent, wide, "reading ranges", progress), strict=True
    ):
        if isinstance(found, str):
            bad[file] = found
        else:
            extents.setdefault(header.depth, []).append(found)
    return {
        depth: scale_of(found, f"{len(found):,} {depth} images") for depth, found in extents.items()
    }


def _decode_all(
    listing: Listing,
    headers: Mapping[File, Header],
    side: int,
    bad: dict[File, str],
    progress: Progress | None,
    resize: Resize,
    scales: Mapping[str, Scale],
) -> tuple[NDArray[np.uint8], int]:
    """All images as uint8 N×side×side×C, C = 1 where all are grey; `bad` is told of faults.

    And how many of them their EXIF data turned or mirrored.
    """
    channels = 1 if all(header.grey for header in headers.values()) else 3
    refuse_what_does_not_fit(
        len(headers) * side * side * channels,
        f"{one_line(listing.root)}: {len(headers):,} images of {side}×{side}×{channels} take",
        "choose a smaller size",
    )
    decoded = np.empty((len(headers), side, side, channels), np.uint8)

    def one(job: tuple[int, File]) -> tuple[str, bool]:
        return decode(job[1].path, decoded[job[0]], resize, scales)

    done = in_parallel(one, list(enumerate(headers)), "decoding", progress)
    for file, (fault, _) in zip(headers, done, strict=True):
        if fault:
            bad.setdefault(file, fault)
    return decoded, sum(turned for _, turned in done)


def _bad_files(listing: Listing, bad: dict[File, str]) -> str:
    """The message that names the first of the bad files; a fault that all have is said once."""
    named = [file.shown for file in listing.files if file in bad]
    faults = {bad[file] for file in listing.files if file in bad}
    start = f"{one_line(listing.root)}: {len(named):,} bad file{'s' if len(named) > 1 else ''}"
    if len(named) > 1 and len(faults) == 1:
        return f"{start} ({faults.pop()}): {quoted(named)}; mend or remove them"
    said = [f"{file.shown!r} ({bad[file]})" for file in listing.files if file in bad]
    more = f" and {len(said) - NUM_NAMED} more" if len(said) > NUM_NAMED else ""
    them = "them" if len(named) > 1 else "it"
    return f"{start}: {', '.join(said[:NUM_NAMED])}{more}; mend or remove {them}"


def _choose_side(headers: list[Header], size: int | None) -> tuple[int, str]:
    """The side of the squares, and what was resized ("" if all images have this size)."""
    if not headers:
        return size or MIN_SIDE, ""
    shapes = {(header.width, header.height) for header in headers}
    by_area = sorted(shapes, key=lambda shape: (shape[0] * shape[1], shape))
    low, high = by_area[0], by_area[-1]
    if size is None:
        if len(shapes) == 1 and low[0] == low[1] <= MAX_SIDE:
            return low[0], ""
        shorter = sorted(min(header.width, header.height) for header in headers)
        size = min(max(shorter[len(shorter) // 2] // 4 * 4, MIN_SIDE), MAX_SIDE)
    if shapes == {(size, size)}:
        return size, ""
    largest = "" if len(shapes) == 1 else f" to {high[0]}×{high[1]}"
    return size, f"they were {low[0]}×{low[1]}{largest}"


def in_parallel(
    work: Callable[[Any], Any], jobs: list[Any], description: str, progress: Progress | None
) -> list[Any]:
    """work(job) for each job, in order, on a few threads: Pillow releases Python's lock."""
    results: list[Any] = []

    def some(part: list[Any]) -> list[Any]:
        return [work(job) for job in part]

    parts = [jobs[start : start + AT_ONCE] for start in range(0, len(jobs), AT_ONCE)]
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        for done in pool.map(some, parts):
            results += done
            if progress is not None:
                progress(description, len(results), len(jobs))
    finally:
        pool.shutdown(cancel_futures=True)
    return results
