"""Folders of images and .npz files -> arrays of one size, with every fault of the input named in one line.

A folder is root/CLASS/images or root/{train,val,test}/CLASS/images. Images that differ in size become squares: the shorter side
is resized to `size` with antialiasing, the centre is kept. Without a `size` it is the median of the images' shorter
sides, rounded down to a multiple of 4, from 16 to 64; images that are all one square of at most 64 pixels stay as they are.
"""

# ruff: noqa: PTH110, PTH112  os.path answers False where pathlib raises (permissions, loops, names too long)

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convscope.recipe import UserError, one_line

if TYPE_CHECKING:
    import PIL.Image

Progress = Callable[[str, int, int | None], None]
Pair = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images N×H×W×C, labels N

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # decoders that run no other program
MAX_PIXELS = 50_000_000
GREY = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
MIN_SIDE, MAX_SIDE = 16, 64  # of the side that is chosen from the images
NUM_NAMED = 5  # bad files named in a message


@dataclass(frozen=True)
class File:
    path: Path
    shown: str  # relative to the root, printable
    split: str
    label: int
    status: str  # why it can't be read, as far as the listing tells; "" where nothing is known against it


@dataclass(frozen=True)
class Listing:
    """What a folder holds, before any image is opened."""

    root: Path
    files: tuple[File, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    signature: str  # changes when a path, a size or a time of modification does


def scan(root: Path) -> Listing:
    """List a folder: classes, files in order of their names' bytes, and what was skipped.

    Raises UserError for a folder that has no two classes with images, or whose splits have different classes.
    """
    shown = one_line(root)
    skipped: list[str] = []
    tops = _entries(root, root, [])
    folders = [entry for entry in tops if os.path.isdir(entry.path)]
    holds_folders = {
        e.name
        for e in folders
        if e.name.lower() in SPLITS and any(os.path.isdir(x.path) for x in _entries(root, Path(e.path), []))
    }
    if holds_folders and len(holds_folders) == len(folders):
        splits: dict[str, Path] = {}
        for name in sorted(holds_folders):
            split = SPLITS[name.lower()]
            if split in splits:
                raise UserError(f"{shown}: {splits[split].name} and {name} are both {split} folders; keep one")
            splits[split] = root / name
        if "train" not in splits:
            raise UserError(f"{shown}: has {', '.join(sorted(holds_folders))} but no train folder; add train/CLASS/images")
    else:
        splits = {"train": root}
    if root not in splits.values():  # else the listing of the classes says it
        skipped += [one_line(_text(entry.name), 80) for entry in tops if not os.path.isdir(entry.path)]

    names = {split: _class_names(root, folder, skipped) for split, folder in splits.items()}
    classes = names["train"]
    for split, others in names.items():
        if others != classes:
            ours, theirs = sorted(set(classes) - set(others)), sorted(set(others) - set(classes))
            parts = [f"{where} alone has {_some(map(_text, only))}" for where, only in (("train", ours), (split, theirs)) if only]
            raise UserError(
                f"{shown}: train and {split} have different classes: {'; '.join(parts)}; give both the same class folders"
            )
    _check_class_names(shown, root, classes)

    files: list[File] = []
    signature = hashlib.sha256()
    for split, folder in splits.items():
        for label, name in enumerate(classes):
            for path, status, stamp in _walk(root, folder / name, skipped, ()):
                relative = os.fsencode(path.relative_to(root))
                signature.update(b"%d:%s %s\n" % (len(relative), relative, stamp.encode()))
                files.append(File(path, one_line(_text(os.fspath(path.relative_to(root))), 80), split, label, status))
    _check_counts(shown, files, classes, splits)
    notes = (f"skipped {len(skipped)} hidden or non-image entries: {_some(sorted(skipped))}",) if skipped else ()
    return Listing(root, tuple(files), tuple(_text(name) for name in classes), notes, signature.hexdigest())


def _entries(root: Path, folder: Path, skipped: list[str]) -> list[os.DirEntry[str]]:
    """The entries of a folder in order of their names' bytes, hidden ones aside."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise UserError(f"{one_line(folder)}: can't be listed ({error.strerror}); make it readable or move it away") from None
    shown = [entry for entry in found if not entry.name.startswith(".") and entry.name != "__MACOSX"]
    skipped += [one_line(_text(os.path.relpath(entry.path, root)), 80) for entry in found if entry not in shown]
    for entry in shown:
        if entry.is_symlink() and not _is_image(entry.name) and not os.path.exists(entry.path):
            raise UserError(f"{one_line(entry.path)}: a link that leads nowhere or in a loop; remove it")
    return shown


def _class_names(root: Path, folder: Path, skipped: list[str]) -> tuple[str, ...]:
    entries = _entries(root, folder, skipped)
    classes = tuple(entry.name for entry in entries if os.path.isdir(entry.path))
    loose = [entry for entry in entries if not os.path.isdir(entry.path)]
    images = [entry.name for entry in loose if _is_image(entry.name)]
    if not classes:
        held = f"holds {len(images)} images and no class folders" if images else "is empty: no class folders"
        raise UserError(f"{one_line(folder)}: {held}; put the images of each class in a folder of its own, CLASS/image.png")
    skipped += [one_line(_text(os.path.relpath(entry.path, root)), 80) for entry in loose]
    return classes


def _check_class_names(shown: str, root: Path, classes: tuple[str, ...]) -> None:
    if len(classes) == 1:
        raise UserError(
            f"{shown}: one class alone, {one_line(_text(classes[0]))!r}; a classifier needs two or more class folders"
        )
    seen: dict[str, str] = {}
    for name in classes:
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            pair = f"{one_line(_text(seen[key]))!r} and {one_line(_text(name))!r}"
            raise UserError(f"{shown}: classes {pair} differ by case or accent encoding only; merge or rename one")
        seen[key] = name


def _check_counts(shown: str, files: list[File], classes: tuple[str, ...], splits: Iterable[str]) -> None:
    num_train = sum(file.split == "train" for file in files)
    if not files:
        raise UserError(f"{shown}: no images in its {len(classes)} class folders; known endings: {' '.join(sorted(SUFFIXES))}")
    if num_train < len(classes):
        raise UserError(f"{shown}: fewer images ({num_train}) than classes ({len(classes)}); each class needs at least two")
    present = {(file.split, file.label) for file in files}
    for split in splits:
        empty = [_text(name) for label, name in enumerate(classes) if (split, label) not in present]
        if empty and split == "train":
            raise UserError(f"{shown}: no images in class {_some(empty)}; add some or remove the folder")
        if empty and len(empty) == len(classes):
            raise UserError(f"{shown}: no images in its {split} folder; add some or remove the folder")


def _walk(root: Path, folder: Path, skipped: list[str], above: tuple[tuple[int, int], ...]) -> Iterator[tuple[Path, str, str]]:
    """Each image file below a class folder with what is wrong with it ("" if nothing is known) and its stamp."""
    info = folder.stat()
    here = (info.st_dev, info.st_ino)
    if here in above:
        raise UserError(f"{one_line(folder)}: a link that leads back to a folder above it; remove it")
    for entry in _entries(root, folder, skipped):
        path = folder / entry.name
        try:
            info = entry.stat()
        except OSError:
            yield path, "a link that leads nowhere or in a loop" if entry.is_symlink() else "can't be read", "-"
            continue
        if stat.S_ISDIR(info.st_mode):
            yield from _walk(root, path, skipped, (*above, here))
        elif not _is_image(entry.name):
            skipped.append(one_line(_text(os.path.relpath(path, root)), 80))
        else:
            status = "" if stat.S_ISREG(info.st_mode) else "not a regular file"
            yield path, status or ("empty file" if info.st_size == 0 else ""), f"{info.st_size} {info.st_mtime_ns}"


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def _text(name: str) -> str:
    """A file name as text that UTF-8 can hold: bytes that aren't UTF-8 become \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _some(items: Iterable[str]) -> str:
    items = list(items)
    more = f" and {len(items) - NUM_NAMED} more" if len(items) > NUM_NAMED else ""
    return ", ".join(repr(one_line(item, 80)) for item in items[:NUM_NAMED]) + more


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    grey: bool


def read_images(listing: Listing, size: int | None, progress: Progress | None) -> tuple[dict[str, Pair], tuple[str, ...]]:
    """Decode a listed folder: split -> (uint8 N×H×W×C, labels), and the notes.

    Raises UserError that names the bad files together, and where the images would not fit into free memory.
    """
    from PIL import Image

    Image.init()  # loads the decoders, before the threads start
    shown = one_line(listing.root)
    bad = {file: file.status for file in listing.files if file.status}
    with warnings.catch_warnings():  # Pillow warns of oddities in metadata; what matters to us comes as an exception
        warnings.simplefilter("ignore")
        readable = [file for file in listing.files if not file.status]
        headers: dict[File, _Header] = {}
        for file, header in zip(readable, _parallel(_read_header, readable, "reading headers", progress), strict=True):
            if isinstance(header, str):
                bad[file] = header
            else:
                headers[file] = header
        side, resized = _choose_side(list(headers.values()), size)
        channels = 1 if all(header.grey for header in headers.values()) else 3
        needed, free = len(headers) * side * side * channels, free_memory()
        if free is not None and needed > free:
            takes = f"{len(headers):,} images of {side}×{side}×{channels} take {needed / 1e9:,.1f} GB"
            raise UserError(f"{shown}: {takes}, and {free / 1e9:,.1f} GB of memory are free; choose a smaller size")
        decoded = np.empty((len(headers), side, side, channels), np.uint8)

        def decode(job: tuple[int, File]) -> str:
            return _decode(job[1], decoded[job[0]])

        for file, fault in zip(headers, _parallel(decode, list(enumerate(headers)), "decoding", progress), strict=True):
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
    return splits, ((f"resized the images to {side}×{side} (shorter side, centre kept): {resized}",) if resized else ())


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
    return size, f"they were {low[0]}×{low[1]}" + ("" if len(shapes) == 1 else f" to {high[0]}×{high[1]}")


def _parallel(work: Callable[[Any], Any], jobs: list[Any], description: str, progress: Progress | None) -> list[Any]:
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
                opened.draft(None, (2 * side, 2 * side))  # JPEG: decode at a half, quarter or eighth where that is enough
            opened.load()
            image = _to_mode(opened, channels)
            if image.size != (side, side):
                edge = min(image.size)
                left, top = (image.width - edge) / 2, (image.height - edge) / 2
                image = image.resize((side, side), Image.Resampling.BICUBIC, box=(left, top, left + edge, top + edge))
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
        free.append(int((group / "memory.max").read_text("ascii")) - int((group / "memory.current").read_text("ascii")))
    except (OSError, ValueError):  # not Linux, no limit ("max"), or no control group
        pass
    return min(free) if free else None


_NAMES = {  # split -> names of (images, labels), Keras's first
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels")),
    "val": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}


def read_npz(path: Path) -> tuple[dict[str, Pair], tuple[str, ...]]:
    """An .npz file: split -> (uint8 N×H×W×C, labels), and the classes. No pickles are read.

    Names: x_train, y_train, x_test, y_test, or train_images, train_labels, test_images, test_labels, or images, labels; val
    likewise; `classes` (texts) may be there. Images are uint8, N×H×W, N×H×W×C or N×C×H×W with C up to 4.
    """
    import zipfile

    shown = one_line(path)
    try:
        with zipfile.ZipFile(path) as archive:
            needed, free = sum(member.file_size for member in archive.infolist()), free_memory()
        if free is not None and needed > free:
            raise UserError(
                f"{shown}: unpacks to {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of memory are free; store fewer images"
            )
        with np.load(path, allow_pickle=False) as archive:
            arrays = {
                name: archive[name]
                for name in archive.files
                if name == "classes" or any(name in p for n in _NAMES.values() for p in n)
            }
            present = sorted(archive.files)
    except UserError:
        raise
    except PermissionError:
        raise UserError(f"{shown}: permission denied; make it readable") from None
    except Exception as error:  # zipfile, zlib and numpy raise many kinds on damaged files
        detail = "holds Python objects" if "allow_pickle" in str(error) else one_line(error, 80)
        raise UserError(
            f"{shown}: not a readable .npz file ({detail}); write it with numpy.savez(x_train=…, y_train=…)"
        ) from None
    splits: dict[str, Pair] = {}
    for split, candidates in _NAMES.items():
        for images, labels in candidates:
            if images in arrays and labels in arrays and split not in splits:
                splits[split] = (_npz_images(shown, images, arrays[images]), _npz_labels(shown, labels, arrays[labels]))
                if len(splits[split][0]) != len(splits[split][1]):
                    counts = f"{len(splits[split][0]):,} images in {images} and {len(splits[split][1]):,} labels in {labels}"
                    raise UserError(f"{shown}: {counts}; give each image one label")
    if "train" not in splits:
        raise UserError(
            f"{shown}: holds {_some(present) or 'nothing'}; needs x_train and y_train (x_test, y_test), or images and labels"
        )
    return splits, _npz_classes(shown, arrays.get("classes"), splits)


def _npz_images(shown: str, name: str, images: NDArray[Any]) -> NDArray[np.uint8]:
    if images.dtype != np.uint8:
        raise UserError(f"{shown}: {name} is {images.dtype}; store uint8, 0 to 255")
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4 and images.shape[3] > 4 >= images.shape[1]:
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or images.shape[3] > 4 or 0 in images.shape:
        raise UserError(f"{shown}: {name} has shape {images.shape}; needs N×H×W, N×H×W×C or N×C×H×W with C from 1 to 4")
    return np.ascontiguousarray(images)


def _npz_labels(shown: str, name: str, labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.ndim == 2 and labels.shape[1] == 1:  # Keras's CIFAR-10 has N×1
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or (labels.size and (labels.min() < 0 or labels.max() >= 2**31)):
        found = f"{name} is {labels.dtype} of shape {labels.shape}"
        raise UserError(f"{shown}: {found}; needs N whole numbers from 0 to the number of classes - 1")
    return labels.astype(np.int64)


def _npz_classes(shown: str, given: NDArray[Any] | None, splits: dict[str, Pair]) -> tuple[str, ...]:
    highest = max(int(labels.max()) for _, labels in splits.values())
    num_train = len(splits["train"][1])
    if given is not None and (given.ndim != 1 or given.dtype.kind not in "US"):
        raise UserError(f"{shown}: classes is {given.dtype} of shape {given.shape}; needs a list of texts")
    num_classes = highest + 1 if given is None else len(given)
    if num_classes < 2 or highest >= num_classes:
        raise UserError(
            f"{shown}: labels go to {highest} and there are {num_classes} classes; needs two or more, numbered from 0"
        )
    if num_train < num_classes:
        raise UserError(f"{shown}: fewer images ({num_train}) than classes ({num_classes}); each class needs at least two")
    texts = [str(i) for i in range(num_classes)] if given is None else [_decoded(name) for name in given.tolist()]
    if len(set(texts)) < len(texts):
        raise UserError(f"{shown}: classes has a name twice: {_some(texts)}; give each class its own")
    empty = [texts[label] for label in np.flatnonzero(np.bincount(splits["train"][1], minlength=num_classes) == 0)]
    if empty:
        raise UserError(f"{shown}: no training images in class {_some(empty)}; add some or renumber the labels from 0")
    shapes = {images.shape[1:] for images, _ in splits.values()}
    if len(shapes) > 1:
        raise UserError(f"{shown}: train, val and test images differ in shape: {sorted(shapes)}; give all one shape")
    return tuple(texts)


def _decoded(name: str | bytes) -> str:
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    return text.encode("utf-8", "backslashreplace").decode()
