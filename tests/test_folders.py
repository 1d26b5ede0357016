"""Folders of images become data sets: what is read and what is refused."""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pixels import arrays, image_file, refused

from convscope import data
from convscope.data import listed, memory
from convscope.errors import UserError


@pytest.fixture
def root(tmp_path: Path, cache: Path) -> Path:
    """Two classes of ten images, 20×20."""
    for name in ("cat", "dog"):
        for i in range(10):
            image_file(tmp_path / "pets" / name / f"{i}.png")
    return tmp_path / "pets"


def test_a_folder_becomes_a_data_set(root: Path) -> None:
    pets = data.load(root, val=0.25)
    assert (pets.name, pets.classes, pets.in_shape) == ("pets", ("cat", "dog"), (3, 20, 20))
    assert (len(pets.train), len(pets.val), len(pets.test)) == (12, 4, 4)
    assert torch.bincount(pets.test.labels).tolist() == [2, 2]
    assert len(pets.notes) == 1 and "no test set was given: 20%" in pets.notes[0]
    images, labels = arrays(pets.train, pets.val, pets.test)
    stored = {image.tobytes(): label for image, label in zip(images, labels.tolist(), strict=True)}
    for label, name in enumerate(pets.classes):  # losslessly, under the right label
        assert all(
            stored[np.asarray(Image.open(path)).tobytes()] == label
            for path in (root / name).iterdir()
        )


def test_an_unchanged_folder_is_decoded_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int, int | None]] = []
    first = data.load(root, progress=lambda *call: calls.append(call))
    assert calls[-1] == ("decoding", 20, 20) and ("reading headers", 20, 20) in calls
    monkeypatch.setattr(listed, "read_images", lambda *arguments: pytest.fail("decoded twice"))
    assert data.load(root).hash == first.hash and data.load(root).notes == first.notes
    monkeypatch.undo()
    monkeypatch.setenv("CONVSCOPE_CACHE", str(root.parent / "cache"))
    image_file(root / "cat" / "3.png", colour="red")
    assert data.load(root).hash != first.hash
    assert data.load(root, size=16).in_shape == (3, 16, 16)


def test_own_splits_are_used(tmp_path: Path, cache: Path) -> None:
    for split, num in (("train", 4), ("valid", 2), ("test", 3)):
        for name in ("a", "b"):
            for i in range(num):
                image_file(tmp_path / "d" / split / name / f"{i}.png")
    d = data.load(tmp_path / "d")
    assert (len(d.train), len(d.val), len(d.test)) == (8, 4, 6)
    assert len(d.notes) == 1 and "own validation set is used (4 images)" in d.notes[0]
    image_file(tmp_path / "d" / "test" / "c" / "0.png")
    refused(tmp_path / "d", "train and test have different classes", "test alone has 'c'")


def test_hidden_and_other_files_are_skipped_and_said(root: Path) -> None:
    image_file(root / ".ipynb_checkpoints" / "x.png")
    image_file(root / "cat" / ".hidden.png")
    (root / "cat" / "notes.txt").write_text("notes")
    (root / "README.md").write_text("readme")
    (root / "cat" / ".#lock").symlink_to("nobody@nowhere")
    pets = data.load(root)
    assert pets.classes == ("cat", "dog")
    assert pets.notes[:3] == (
        "skipped 2 entries (hidden): 'cat/.#lock', 'cat/.hidden.png'",
        "skipped 1 entry (made by a system, such as thumbnails): '.ipynb_checkpoints'",
        "skipped 2 entries (not an image): 'README.md', 'cat/notes.txt'",
    )


def test_names_that_are_not_utf8_work(root: Path) -> None:
    # names as bytes, which pathlib does not take
    cat, other = os.fsencode(root / "cat"), os.fsencode(root)
    os.rename(cat + b"/0.png", cat + b"/\xff\xfe.png")  # noqa: PTH104
    os.rename(other + b"/dog", other + b"/d\xe9g")  # noqa: PTH104
    pets = data.load(root)
    assert pets.classes == ("cat", "d\\xe9g") and len(pets.test) == 4
    str(pets).encode("utf-8")


def test_all_bad_files_are_named_at_once(root: Path) -> None:
    (root / "cat" / "empty.png").write_bytes(b"")
    (root / "dog" / "text.png").write_text("not an image")
    noise = image_file(root / "dog" / "z.jpg", (64, 64))
    noise.write_bytes(noise.read_bytes()[:-400])
    refused(
        root,
        "3 bad files",
        "cat/empty.png' (empty file)",
        "dog/text.png' (not an image",
        "dog/z.jpg' (truncated)",
        str(root),
    )
    for i in range(6):
        (root / "cat" / f"e{i}.png").write_bytes(b"")
    message = refused(root, "9 bad files", "and 4 more")
    assert message.count("(") == 5


def test_a_bomb_is_refused_by_its_header(root: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = (
        struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    (root / "cat" / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + bytes(4)
    )
    refused(root, "cat/bomb.png' (over 50 megapixels)")
    image_file(root / "cat" / "bomb.png", (8_000, 7_000), "1", 0)
    refused(root, "cat/bomb.png' (8000×7000, over 50 megapixels)")


def test_links_that_loop_arerefused(root: Path) -> None:
    loop = root / "cat" / "more"
    loop.symlink_to(root)
    refused(root, "a link that leads back to a folder above it", "more")
    loop.unlink()
    (root / "cat" / "self.png").symlink_to(root / "cat" / "self.png")
    refused(root, "self.png' (a link that leads nowhere or in a loop)")
    (root / "cat" / "self.png").unlink()
    (root / "x.png").symlink_to(root / "x.png")
    assert "x.png" in data.load(root).notes[0]  # beside the class folders: skipped, and said
    (root / "bird").symlink_to(root / "bird")
    refused(root, "bird: a link that leads nowhere or in a loop")
    refused(root / "bird", "a link that leads nowhere or in a loop")


def test_a_pipe_named_as_an_image_does_not_hang(root: Path) -> None:
    os.mkfifo(root / "cat" / "pipe.png")
    refused(root, "pipe.png' (not a regular file)")


@pytest.fixture
def as_nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which permissions hold, even where the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        monkeypatch.setenv("CONVSCOPE_CACHE", str(folder / "cache"))
        root = os.geteuid() == 0
        for class_name in ("cat", "dog"):
            for i in range(5):
                image_file(folder / "pets" / class_name / f"{i}.png")
        try:
            if root:
                os.seteuid(65_534)
            yield folder / "pets"
        finally:
            if root:
                os.seteuid(0)


def test_an_unreadable_file_is_named(as_nobody: Path) -> None:
    if os.geteuid() == 65_534:
        os.seteuid(0)
        (as_nobody / "cat" / "1.png").chmod(0)
        os.seteuid(65_534)
    else:
        (as_nobody / "cat" / "1.png").chmod(0)
    refused(as_nobody, "1 bad file: 'cat/1.png' (permission denied)")


def test_folders_without_two_full_classes_arerefused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    refused(tmp_path / "none", "is empty", "none")
    image_file(tmp_path / "flat" / "a.png")
    refused(tmp_path / "flat", "holds 1 images and no class folders")
    image_file(tmp_path / "one" / "cat" / "a.png")
    refused(tmp_path / "one", "one class alone, 'cat'")
    (root / "bird").mkdir()
    refused(root, "no images in class 'bird'")
    (root / "bird").rename(root / "Cat")
    refused(root, "'Cat' and 'cat' differ by case")
    image_file(tmp_path / "few" / "a" / "0.png")
    for name in "bc":
        (tmp_path / "few" / name).mkdir()
    refused(tmp_path / "few", "fewer images (1) than classes (3)")
    image_file(tmp_path / "test-only" / "test" / "a" / "0.png")
    refused(tmp_path / "test-only", "test/ holds class folders but there is no train folder")
    refused(tmp_path / "flat" / "a.png", "not a folder")


def test_a_class_with_one_image_left_isrefused(tmp_path: Path, cache: Path) -> None:
    for name, num in (("a", 9), ("b", 1)):
        for i in range(num):
            image_file(tmp_path / "d" / name / f"{i}.png")
    with pytest.raises(UserError, match="class 'b' has 1 training image"):
        data.load(tmp_path / "d")


def test_images_that_do_not_fit_into_memory_arerefused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 10_000)
    refused(root, "of memory are free; choose a smaller size")
    monkeypatch.undo()
    assert memory.free_memory() is None or memory.free_memory() > 100_000_000
