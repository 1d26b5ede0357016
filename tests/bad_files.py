"""The files and folders that bad commands name, small and each bad in one way."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DEEP = "[" * 100_000 + "]" * 100_000
ROWS = "path,label\n" + "\n".join(f"ok/a/{i}.png,x\nok/b/{i}.png,y" for i in range(6))


def make(folder: Path) -> None:
    """All of them, in a folder that is to be the current one."""
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        for i in range(12):
            picture(folder / "ok" / name / f"{i}.png", i + 20 * ord(name))
    (folder / "file").write_text("a file")
    (folder / "users.py").write_text("def net(in_shape, num_classes):\n    raise OSError('no')\n")
    for make_some in (folders, single_images, arrays, zips, tars, tables, recipes, studies):
        make_some(folder)


def picture(path: Path, seed: int, side: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(seed, side))


def png(seed: int = 0, side: int = 8, form: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, form)
    return content.getvalue()


def folders(folder: Path) -> None:
    """Class folders that are no data set."""
    (folder / "empty").mkdir()
    picture(folder / "one-class" / "a" / "0.png", 0)
    for i in range(4):
        picture(folder / "empty-class" / "a" / f"{i}.png", i)
        for name in ("Cat", "cat"):
            picture(folder / "by-case" / name / f"{i}.png", i)
        for place in ("train/a", "train/b", "test/a", "test/c"):
            picture(folder / "mismatch" / place / f"{i}.png", i)
        for place in ("a", "b"):
            picture(folder / "loop" / place / f"{i}.png", i)
            picture(folder / "pipe" / place / f"{i}.png", i)
    (folder / "empty-class" / "b").mkdir()
    for i in range(6):
        for place in (
            "masks/images",
            "masks/masks",
            "flat-train/train",
            "flat-train/test1",
            "flat",
        ):
            picture(folder / place / f"{i}.png", i)
        for place in ("train", "dev", "val"):
            picture(folder / "two-vals" / place / "ab"[i % 2] / f"{i}.png", i)
        for split in ("train", "test"):
            picture(folder / "wrapped" / split / "images" / "ab"[i % 2] / f"{i}.png", i)
    (folder / "flat" / "t.csv").write_text("path,label\n")
    np.save(folder / "array.npy", np.zeros(3))
    (folder / "book.xlsx").write_bytes(b"PK")
    for name in ("a", "b", "c"):
        picture(folder / "single" / name / "0.png", ord(name))
    (folder / "loop" / "a" / "again").symlink_to(folder / "loop" / "a")
    (folder / "nowhere-link").symlink_to(folder / "not-there")
    os.mkfifo(folder / "pipe" / "a" / "9.png")
    (folder / "words" / "a").mkdir(parents=True)
    (folder / "words" / "b").mkdir()
    (folder / "words" / "a" / "x.txt").write_text("words")


def single_images(folder: Path) -> None:
    """Folders with one image each that cannot be decoded."""
    jpeg = png(1, 40, "JPEG")
    bad: dict[str, tuple[str, bytes]] = {
        "zero-bytes": ("x.png", b""),
        "torn-jpeg": ("x.jpg", jpeg[: len(jpeg) // 2]),
        "torn-png": ("x.png", png()[:60]),
        "text-png": ("x.png", b"this is a text\n" * 20),
        "html-jpg": ("x.jpg", b"<!doctype html><title>404</title>"),
        "bomb": ("x.png", bomb()),
        "svg-png": ("x.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "heic-jpg": ("x.jpg", b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(60)),
        "pointer": ("x.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    }
    for name, (file, content) in bad.items():
        for i in range(3):
            picture(folder / name / "a" / f"{i}.png", i)
            picture(folder / name / "b" / f"{i}.png", 9 + i)
        (folder / name / "b" / file).write_bytes(content)


def bomb() -> bytes:
    """A PNG of a few bytes whose header promises 60,000×60,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        size, check = struct.pack(">I", len(content)), struct.pack(">I", zlib.crc32(checked))
        return size + checked + check

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def arrays(folder: Path) -> None:
    """Files of arrays."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    labels = np.arange(40) % 4
    nan = np.where(images == images.max(), np.nan, images / 255)
    bad: dict[str, dict[str, Any]] = {
        "good": {"x_train": images, "y_train": labels},
        "other-names": {"apples": images, "pears": labels},
        "no-labels": {"x_train": images},
        "nan-pixels": {"x_train": nan, "y_train": labels},
        "text-labels": {"x_train": images, "y_train": np.array(["a", "b"] * 20, object)},
        "nan-labels": {"x_train": images, "y_train": np.where(labels == 1, np.nan, labels)},
        "half-labels": {"x_train": images, "y_train": labels + 0.5},
        "negative-labels": {"x_train": images, "y_train": labels - 7},
        "fewer-labels": {"x_train": images, "y_train": labels[:30]},
        "one-label": {"x_train": images, "y_train": labels * 0},
        "five-axes": {"x_train": images[None, None], "y_train": labels},
        "no-images": {"x_train": images[:0], "y_train": labels[:0]},
        "ranges": {
            "x_train": images / 255,
            "y_train": labels,
            "x_test": images * 1.0,
            "y_test": labels,
        },
        "hwn": {"x_train": images.transpose(1, 2, 3, 0), "y_train": labels},
        "rows": {"x_train": images.reshape(40, -1), "y_train": labels},
        "from-one": {"x_train": images, "y_train": labels + 1},
        "several": {"x_train": images, "y_train": np.ones((40, 3), np.int64)},
    }
    for name, content in bad.items():
        np.savez(folder / f"{name}.npz", **content)
    whole = (folder / "good.npz").read_bytes()
    (folder / "torn.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.npz").write_bytes(b"")
    (folder / "text.npz").write_text("an array of words")


def zips(folder: Path) -> None:
    """Archives of one member that is bad, beside good ones."""
    stored = {"a/0.png": png(0), "a/1.png": png(1), "b/0.png": png(2), "b/1.png": png(3)}
    bad: dict[str, dict[str, bytes]] = {
        "up": {"../evil.png": png()},
        "deep-up": {"a/../../data_evil/x.png": png()},
        "root": {"/evil.png": png()},
        "backslash": {"..\\evil.png": png()},
        "both": {"a": b"x"},
        "bad-image": {"b/9.png": b"text"},
        "good": {},
    }
    for name, more in bad.items():
        with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in {**stored, **more}.items():
                info = zipfile.ZipInfo("NAME")
                info.filename, info.compress_type = member, zipfile.ZIP_DEFLATED
                archive.writestr(info, content)
    whole = (folder / "good.zip").read_bytes()
    locked = bytearray(whole)
    locked[locked.rindex(b"PK\1\2") + 8] |= 1
    (folder / "locked.zip").write_bytes(locked)
    large = bytearray(whole)
    place = large.rindex(b"PK\1\2") + 24  # the size of the last member, as the list says
    large[place : place + 4] = struct.pack("<I", 2**32 - 2)
    (folder / "many-zeros.zip").write_bytes(large)
    (folder / "torn.zip").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.zip").write_bytes(b"")
    (folder / "html.zip").write_text("<html>404</html>")
    with zipfile.ZipFile(folder / "no-images.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    with zipfile.ZipFile(folder / "nested.zip", "w") as archive:
        archive.writestr("good.zip", whole)
    with zipfile.ZipFile(folder / "folders.zip", "w") as archive:
        archive.writestr("a/", b"")
        archive.writestr("b/", b"")
    with zipfile.ZipFile(folder / "ids.zip", "w") as archive:
        archive.writestr("images/0.png", png(0))
        archive.writestr("t.csv", "id,label\n0,x\n")


def tars(folder: Path) -> None:
    """Archives of one member that is no file, or leads elsewhere."""
    kinds: dict[str, dict[str, object]] = {
        "up": {"name": "../evil.png"},
        "link": {"name": "a/9.png", "type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        "hard-link": {"name": "a/9.png", "type": tarfile.LNKTYPE, "linkname": "a/0.png"},
        "pipe": {"name": "a/9.png", "type": tarfile.FIFOTYPE},
    }
    for name, changes in kinds.items():
        with tarfile.open(folder / f"{name}.tar", "w") as archive:
            for member in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
                info = tarfile.TarInfo(member)
                info.size = len(png())
                archive.addfile(info, io.BytesIO(png()))
            info = tarfile.TarInfo()
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info)
    whole = gzip.compress((folder / "up.tar").read_bytes())
    (folder / "tar.zip").write_bytes(whole)
    (folder / "zip.tar.gz").write_bytes((folder / "good.zip").read_bytes())
    (folder / "torn.tar.gz").write_bytes(whole[: len(whole) // 2])


def tables(folder: Path) -> None:
    """Tables, the good one in ok.csv."""
    written: dict[str, bytes] = {
        "ok.csv": ROWS.encode(),
        "empty.csv": b"",
        "header.csv": b"path,label\n",
        "no-label.csv": b"path,size\nok/a/0.png,3\nok/b/0.png,4\n",
        "ragged.csv": ROWS.encode() + b"\nok/a/0.png,x,z,z\n",
        "binary.csv": bytes(range(256)),
        "missing.csv": b"path,label\nnot/a.png,x\nnot/b.png,y\n",
        "one-class.csv": ROWS.replace(",y", ",x").encode(),
        "two-splits.csv": b"path,label,split\nok/a/0.png,x,train\nok/b/1.png,y,train\n"
        b"ok/a/0.png,x,test\n",
        "two-labels.csv": b"path,label,class\nok/a/0.png,x,1\nok/b/0.png,y,1\nok/a/1.png,x,2\n",
        "no-train.csv": ROWS.replace("label", "label,split")
        .replace(",x", ",x,test")
        .replace(",y", ",y,test")
        .encode(),
        "neither.csv": b"path,label\nok/a/0.png,\x81\x8d\nok/b/0.png,\x8f\n",
        "half.csv": "path,label\n".encode("utf-16") + b"\x00",
        "quote.csv": b'path,label\nok/a/0.png,"x\nok/b/0.png,y\n' + b"z" * 200_000,
        "unlabelled.csv": b"path,label\nok/a/0.png,\nok/b/0.png,nan\n",
        "twice.csv": b"path,label,label\nok/a/0.png,x,1\nok/b/0.png,y,1\n",
        "web.csv": b"path,label\nhttps://example.com/0.png,x\nhttps://example.com/1.png,y\n",
        "ones.csv": b"image,MEL,NV\nok/a/0.png,1.0,0.0\nok/b/0.png,0.0,1.0\n",
        "labels.csv": b"image,MEL,NV\nok/a/0.png,1,1\nok/b/0.png,0,1\n",
        "one-group.csv": ROWS.replace("label", "label,patient")
        .replace(",x", ",x,p")
        .replace(",y", ",y,p")
        .encode(),
        "single.csv": ROWS.encode() + b"\nok/a/9.png,z\n",
        "pixels.csv": b"label,pixel0,pixel1\n1,0,255\n0,3,4\n",
        "by-case.csv": ROWS.encode() + b"\nok/a/9.png,X\n",
        "far.csv": b"path,label\nC:\\a\\0.png,x\nC:\\b\\0.png,y\n",
        "bad.parquet": b"PAR1 not a table PAR1",
        "empty.parquet": b"",
    }
    for name, content in written.items():
        (folder / name).write_bytes(content)
    (folder / "folder.csv").mkdir()
    (folder / "folder.npz").mkdir()


def recipes(folder: Path) -> None:
    """Recipes as JSON."""
    texts: dict[str, str | bytes] = {
        "empty": "",
        "torn": '{"epochs": ',
        "list": "[1, 2]",
        "twice": '{"epochs": 1, "epochs": 2}',
        "unknown": '{"epoch": 3}',
        "text-number": '{"epochs": "10"}',
        "true-number": '{"epochs": true}',
        "nan": '{"lr": NaN}',
        "huge": '{"lr": 1e999}',
        "many-digits": '{"seed": ' + "9" * 5000 + "}",
        "deep": DEEP,
        "utf16": '{"epochs": 3}'.encode("utf-16"),
        "not-utf8": b'{"data": "\xff\xfe"}',
        "null-model": '{"model": null}',
        "no-kind": '{"model": {"kind": "resnet"}}',
        "misspelt-model": '{"model": {"kind": "convnet", "widht": 8}}',
        "no-colon": '{"model": {"kind": "custom", "factory": "users"}}',
        "far-seed": '{"seed": 36893488147419103232}',
        "zero-width": '{"model": {"kind": "convnet", "width": 0}}',
        "padded": '{"epochs": 3}' + " " * 2_000_000,
        "no-data": '{"data": "nowhere", "epochs": 1}',
        "trailing": '{"epochs": 3} {"epochs": 4}',
    }
    (folder / "recipes").mkdir()
    for name, text in texts.items():
        content = text if isinstance(text, bytes) else text.encode()
        (folder / "recipes" / f"{name}.json").write_bytes(content)


def studies(folder: Path) -> None:
    """Folders whose study.json is none."""
    texts: dict[str, Callable[[], str]] = {
        "torn-study": lambda: '{"asked": {',
        "list-study": lambda: "[]",
        "empty-study": lambda: "",
        "other-study": lambda: json.dumps({"hello": "world"}),
        "deep-study": lambda: DEEP,
    }
    for name, text in texts.items():
        (folder / name).mkdir()
        (folder / name / "study.json").write_text(text())
