"""What a file is that no decoder knows, by its first bytes."""

from __future__ import annotations

from pathlib import Path

HEAD = 256  # bytes that are looked at

BEGINNINGS = {
    b"version https://git-lfs": "a pointer of Git LFS, run git lfs pull",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"PK\3\4": "a .zip archive",
    b"\x1f\x8b": "packed by gzip",
    b"PF\n": "PFM of three channels, save it as PNG",
    b"\x89HDF": "HDF5",
    b"\x93NUMPY": "an array of numpy",
}

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

BRANDS = {  # of files in boxes, as cameras of phones write them
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}

IMAGES = {b"\x89PNG\r\n": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif"}  # -> ending

SIZES_OF_JPEG = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers that tell bits and sides

TEXTS = {b"<!doctype html": "a web page", b"<html": "a web page", b"<svg": "SVG", b"<?xml": "XML"}


def what_it_is(path: Path) -> str:
    """As ": HEIC", after a message; "" where that is not known."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError:
        return ""
    if head[4:8] == b"ftyp":
        found = BRANDS.get(head[8:12], "a film or another file in boxes")
    elif head[128:132] == b"DICM":
        found = "DICOM"
    elif head.startswith(TIFF):
        from convscope.data.tiff_kinds import tiff_told

        found = tiff_told(path) or "TIFF of a kind that is not read, save it as PNG"
    elif head.startswith(b"\xff\xd8\xff"):
        found = jpeg_told(path)
    else:
        start = head.lstrip().lower()
        told = [what for begin, what in BEGINNINGS.items() if head.startswith(begin)]
        told += [what for begin, what in TEXTS.items() if start.startswith(begin)]
        found = told[0] if told else ""
    return f": {found}" if found else ""


def jpeg_told(path: Path) -> str:
    """What a JPEG file is that no decoder takes; "" where that is not known."""
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    place = 2
    while place + 5 < len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker in SIZES_OF_JPEG:
            bits = content[place + 4]
            lossless = "lossless " if marker in (0xC3, 0xC7, 0xCB, 0xCF) else ""
            kind = f"{lossless}JPEG of {bits} bits"
            return f"{kind}, save it as PNG" if bits != 8 or lossless else ""
        place += 2 + length
    return ""


def ending_by_content(path: Path) -> str:
    """The ending that a file should have by its first bytes, as ".png"; "" for no image."""
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError:
        return ""
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return ".webp"
    return next((ending for begin, ending in IMAGES.items() if head.startswith(begin)), "")
