"""Folders of images and .npz files become data sets: what is read, what is refused, what decoding makes of each kind of image."""

from __future__ import annotations

import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pixels import arrays

from convscope import data
from convscope.data import decoding as folders
from convscope.errors import UserError

# --- folders


def _image(
    path: Path,
    size: tuple[int, int] = (20, 20),
    mode: str = "RGB",
    colour: object = None,
    **options: object,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if colour is None:
        pixels = np.random.default_rng(zlib.crc32(os.fsencode(path))).integers(
            0, 256, (size[1], size[0], 3), np.uint8
        )
        Image.fromarray(pixels).convert(mode).save(path, **options)
    else:
        Image.new(mode, size, colour).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path: Path, cache: Path) -> Path:
    """Two classes of ten images, 20×20."""
    for name in ("cat", "dog"):
        for i in range(10):
            _image(tmp_path / "pets" / name / f"{i}.png")
    return tmp_path / "pets"


def _refused(path: Path, *words: str) -> str:
    before = (
        set((data.cache_folder() / "datasets").glob("*")) if data.cache_folder().exists() else set()
    )
    with pytest.raises(UserError) as caught:
        data.load(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1_200
    for word in words:
        assert word in message, message
    after = (
        set((data.cache_folder() / "datasets").glob("*")) if data.cache_folder().exists() else set()
    )
    assert after == before  # nothing written
    return message


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
    monkeypatch.setattr(folders, "read_images", lambda *arguments: pytest.fail("decoded twice"))
    assert data.load(root).hash == first.hash and data.load(root).notes == first.notes
    monkeypatch.undo()
    monkeypatch.setenv("CONVSCOPE_CACHE", str(root.parent / "cache"))
    _image(root / "cat" / "3.png", colour="red")
    assert data.load(root).hash != first.hash
    assert data.load(root, size=16).in_shape == (3, 16, 16)


def test_own_splits_are_used(tmp_path: Path, cache: Path) -> None:
    for split, num in (("train", 4), ("valid", 2), ("test", 3)):
        for name in ("a", "b"):
            for i in range(num):
                _image(tmp_path / "d" / split / name / f"{i}.png")
    d = data.load(tmp_path / "d")
    assert (len(d.train), len(d.val), len(d.test)) == (8, 4, 6)
    assert len(d.notes) == 1 and "own validation set is used (4 images)" in d.notes[0]
    _image(tmp_path / "d" / "test" / "c" / "0.png")
    _refused(tmp_path / "d", "train and test have different classes", "test alone has 'c'")


def test_hidden_and_other_files_are_skipped_and_said(root: Path) -> None:
    _image(root / ".ipynb_checkpoints" / "x.png")
    _image(root / "cat" / ".hidden.png")
    (root / "cat" / "notes.txt").write_text("notes")
    (root / "README.md").write_text("readme")
    (root / "cat" / ".#lock").symlink_to("nobody@nowhere")
    pets = data.load(root)
    assert pets.classes == ("cat", "dog")
    assert "skipped 5 hidden or non-image entries" in pets.notes[0]
    assert all(
        name in pets.notes[0]
        for name in (".ipynb_checkpoints", "cat/.hidden.png", "cat/notes.txt", "README.md")
    )


def test_names_that_are_not_utf8_work(root: Path) -> None:
    source = root / "cat" / "0.png"
    os.rename(os.fsencode(source), os.fsencode(root / "cat") + b"/\xff\xfe.png")  # noqa: PTH104  bytes
    os.rename(os.fsencode(root / "dog"), os.fsencode(root) + b"/d\xe9g")  # noqa: PTH104  bytes
    pets = data.load(root)
    assert pets.classes == ("cat", "d\\xe9g") and len(pets.test) == 4
    str(pets).encode("utf-8")


def test_all_bad_files_are_named_at_once(root: Path) -> None:
    (root / "cat" / "empty.png").write_bytes(b"")
    (root / "dog" / "text.png").write_text("not an image")
    noise = _image(root / "dog" / "z.jpg", (64, 64))
    noise.write_bytes(noise.read_bytes()[:-400])
    _refused(
        root,
        "3 bad files",
        "cat/empty.png' (empty file)",
        "dog/text.png' (not an image",
        "dog/z.jpg' (truncated)",
        str(root),
    )
    for i in range(6):
        (root / "cat" / f"e{i}.png").write_bytes(b"")
    message = _refused(root, "9 bad files", "and 4 more")
    assert message.count("(") == 5


def test_a_bomb_is_refused_by_its_header(root: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = (
        struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    (root / "cat" / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + bytes(4)
    )
    _refused(root, "cat/bomb.png' (over 50 megapixels)")
    _image(root / "cat" / "bomb.png", (8_000, 7_000), "1", 0)
    _refused(root, "cat/bomb.png' (8000×7000, over 50 megapixels)")


def test_links_that_loop_are_refused(root: Path) -> None:
    loop = root / "cat" / "more"
    loop.symlink_to(root)
    _refused(root, "a link that leads back to a folder above it", "more")
    loop.unlink()
    (root / "cat" / "self.png").symlink_to(root / "cat" / "self.png")
    _refused(root, "self.png' (a link that leads nowhere or in a loop)")
    (root / "cat" / "self.png").unlink()
    (root / "x.png").symlink_to(root / "x.png")
    assert "x.png" in data.load(root).notes[0]  # beside the class folders: skipped, and said
    (root / "bird").symlink_to(root / "bird")
    _refused(root, "bird: a link that leads nowhere or in a loop")
    _refused(root / "bird", "a link that leads nowhere or in a loop")


def test_a_pipe_named_as_an_image_does_not_hang(root: Path) -> None:
    os.mkfifo(root / "cat" / "pipe.png")
    _refused(root, "pipe.png' (not a regular file)")


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
                _image(folder / "pets" / class_name / f"{i}.png")
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
    _refused(as_nobody, "1 bad file: 'cat/1.png' (permission denied)")


def test_folders_without_two_full_classes_are_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    _refused(tmp_path / "none", "is empty", "none")
    _image(tmp_path / "flat" / "a.png")
    _refused(tmp_path / "flat", "holds 1 images and no class folders")
    _image(tmp_path / "one" / "cat" / "a.png")
    _refused(tmp_path / "one", "one class alone, 'cat'")
    (root / "bird").mkdir()
    _refused(root, "no images in class 'bird'")
    (root / "bird").rename(root / "Cat")
    _refused(root, "'Cat' and 'cat' differ by case")
    _image(tmp_path / "few" / "a" / "0.png")
    for name in "bc":
        (tmp_path / "few" / name).mkdir()
    _refused(tmp_path / "few", "fewer images (1) than classes (3)")
    _image(tmp_path / "test-only" / "test" / "a" / "0.png")
    _refused(tmp_path / "test-only", "has test but no train folder")
    _refused(tmp_path / "flat" / "a.png", "not a folder")


def test_a_class_with_one_image_left_is_refused(tmp_path: Path, cache: Path) -> None:
    for name, num in (("a", 9), ("b", 1)):
        for i in range(num):
            _image(tmp_path / "d" / name / f"{i}.png")
    with pytest.raises(UserError, match="class 'b' has 1 training image"):
        data.load(tmp_path / "d")


def test_images_that_do_not_fit_into_memory_are_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "free_memory", lambda: 10_000)
    _refused(root, "of memory are free; choose a smaller size")
    monkeypatch.undo()
    assert folders.free_memory() is None or folders.free_memory() > 100_000_000


# --- what decoding makes of each kind of image


def _decoded(
    tmp_path: Path, save: Callable[[Path], object], ending: str = ".png", size: int | None = None
) -> np.ndarray:
    """The image as H×W×C, decoded as one of a folder of its like."""
    for name in ("a", "b"):
        for i in range(4):
            path = tmp_path / "kinds" / name / f"{i}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path)
    return data.load(tmp_path / "kinds", size=size).train.images[0].permute(1, 2, 0).numpy()


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, cache: Path) -> None:
    ramp = np.linspace(0, 65_535, 400).astype(np.uint16).reshape(20, 20)
    pixels = _decoded(tmp_path, lambda path: Image.fromarray(ramp).save(path))
    assert pixels.shape == (20, 20, 1)
    assert np.array_equal(pixels[..., 0], np.rint(ramp / 257).astype(np.uint8))


def test_floating_point_is_scaled(tmp_path: Path, cache: Path) -> None:
    ramp = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    pixels = _decoded(tmp_path, lambda path: Image.fromarray(ramp).save(path), ".tiff")
    assert np.array_equal(pixels[..., 0], np.rint(ramp * 255).astype(np.uint8))


def test_cmyk_becomes_rgb(tmp_path: Path, cache: Path) -> None:
    pixels = _decoded(
        tmp_path,
        lambda path: Image.new("CMYK", (20, 20), (255, 0, 0, 0)).save(path, quality=95),
        ".jpg",
    )
    assert (
        pixels.shape == (20, 20, 3) and abs(pixels.astype(int) - [0, 255, 255]).max() <= 3
    )  # full cyan ink


def test_transparency_is_laid_on_white(tmp_path: Path, cache: Path) -> None:
    pixels = _decoded(
        tmp_path, lambda path: Image.new("RGBA", (20, 20), (255, 0, 0, 128)).save(path)
    )
    assert pixels[0, 0].tolist() == pytest.approx([255, 127, 127], abs=1)


def test_grey_with_transparency_stays_one_channel(tmp_path: Path, cache: Path) -> None:
    pixels = _decoded(tmp_path, lambda path: Image.new("LA", (20, 20), (0, 0)).save(path))
    assert pixels.shape == (20, 20, 1) and pixels.min() == 255


def test_palettes_become_rgb(tmp_path: Path, cache: Path) -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert _decoded(tmp_path, lambda path: image.save(path), ".gif")[3, 3].tolist() == [10, 200, 30]
    assert _decoded(tmp_path, lambda path: image.save(path, transparency=1), ".png")[
        3, 3
    ].tolist() in ([255] * 3, [10, 200, 30])


def test_one_pixel_images_stay(tmp_path: Path, cache: Path) -> None:
    assert _decoded(
        tmp_path, lambda path: Image.new("RGB", (1, 1), (1, 2, 3)).save(path)
    ).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, cache: Path, orientation: int) -> None:
    from PIL import ImageOps

    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:10, :10], pixels[:10, 10:] = (255, 0, 0), (0, 255, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(pixels)
    decoded = _decoded(tmp_path, lambda path: image.save(path, exif=exif))
    image.getexif()[0x0112] = orientation
    assert np.array_equal(decoded, np.asarray(ImageOps.exif_transpose(image)))


def test_broken_metadata_do_not_spoil_good_pixels(tmp_path: Path, cache: Path) -> None:
    image = Image.new("RGB", (20, 20), (1, 2, 3))
    assert _decoded(tmp_path, lambda path: image.save(path, exif=b"Exif\0\0garbage"), ".png")[
        0, 0
    ].tolist() == [1, 2, 3]


def test_the_side_is_chosen_from_the_images(tmp_path: Path, cache: Path) -> None:
    for i, size in enumerate([(30, 50), (39, 60), (70, 39), (200, 100)]):
        for name in ("a", "b"):
            _image(tmp_path / "d" / name / f"{i}.png", size)
    d = data.load(tmp_path / "d", val=0)
    assert d.in_shape == (
        3,
        36,
        36,
    )  # shorter sides 30 39 39 100: the median 39, down to a multiple of 4
    assert "resized the images to 36×36" in d.notes[0]


def test_resizing_keeps_the_centre_and_antialiases(tmp_path: Path, cache: Path) -> None:
    pixels = np.full((64, 192, 3), 255, np.uint8)
    pixels[:, 64:128] = (
        np.indices((64, 64)).sum(0)[..., None] % 2 * 255
    )  # a fine checkerboard: grey when antialiased
    decoded = _decoded(tmp_path, lambda path: Image.fromarray(pixels).save(path), size=16)
    assert decoded.shape == (16, 16, 3) and abs(decoded.astype(int) - 127).max() < 20


# --- .npz


def _arrays_of(num: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).integers(0, 256, (num, *shape), np.uint8), np.arange(num) % 3


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((9, 8), (1, 9, 8)), ((9, 8, 3), (3, 9, 8)), ((3, 9, 8), (3, 9, 8)), ((9, 8, 1), (1, 9, 8))],
)
def test_npz_layouts(
    tmp_path: Path, cache: Path, shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    images, labels = _arrays_of(30, shape)
    np.savez_compressed(
        tmp_path / "d.npz",
        x_train=images,
        y_train=labels[:, None],
        x_test=images[:6],
        y_test=labels[:6],
    )
    d = data.load(tmp_path / "d.npz", val=0)
    assert d.in_shape == expected and d.classes == ("0", "1", "2") and len(d.test) == 6
    nhwc = (
        images[..., None]
        if images.ndim == 3
        else images.transpose(0, 2, 3, 1)
        if shape[0] == 3
        else images
    )
    assert np.array_equal(arrays(d.train)[0], nhwc)


def test_npz_without_test_and_with_classes(tmp_path: Path, cache: Path) -> None:
    images, labels = _arrays_of(30, (8, 8))
    np.savez(tmp_path / "d.npz", images=images, labels=labels, classes=["x", "y", "z"])
    d = data.load(tmp_path / "d.npz")
    assert d.classes == ("x", "y", "z") and (len(d.train), len(d.val), len(d.test)) == (22, 2, 6)
    assert "no test set was given" in d.notes[0]
    assert data.info(d).counts == {"train": 22, "val": 2, "test": 6}


def test_info_counts_duplicates(tmp_path: Path, cache: Path) -> None:
    images, labels = _arrays_of(30, (8, 8))
    images[3] = images[0]
    np.savez(
        tmp_path / "d.npz",
        x_train=images,
        y_train=labels,
        x_test=images[[0, 3, 7]],
        y_test=labels[[0, 3, 7]],
    )
    report = data.info(data.load(tmp_path / "d.npz", val=0))
    assert (report.train_duplicates, report.test_duplicates) == (1, 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x_train": np.zeros((30, 8, 8), np.float32)}, "x_train is float32; store uint8"),
        ({"x_train": np.zeros((30, 8, 8, 9), np.uint8)}, "has shape"),
        ({"y_train": np.zeros(29, np.int64)}, "30 images in x_train and 29 labels"),
        ({"y_train": np.full(30, -1)}, "whole numbers from 0"),
        ({"y_train": np.zeros(30)}, "y_train is float64"),
        ({"y_train": np.zeros(30, np.int64)}, "two or more"),
        ({"y_train": np.arange(30) * 100}, "fewer images (30) than classes (2901)"),
        ({"y_train": np.arange(30) % 2 * 2}, "no training images in class '1'"),
        ({"classes": np.array(["a", "b"])}, "labels go to 2"),
        ({"classes": np.array(["a", "b", "a"])}, "a name twice"),
        ({"x_test": np.zeros((3, 9, 9), np.uint8), "y_test": np.arange(3)}, "differ in shape"),
        ({"x_train": np.array([{}] * 30, object)}, "holds Python objects"),
    ],
)
def test_npz_faults_are_one_line(
    tmp_path: Path, cache: Path, change: dict[str, np.ndarray], words: str
) -> None:
    images, labels = _arrays_of(30, (8, 8))
    np.savez(tmp_path / "d.npz", **{"x_train": images, "y_train": labels} | change)
    _refused(tmp_path / "d.npz", words, str(tmp_path))


def test_files_that_are_not_npz_are_refused(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.npz"
    path.write_text("<html>not found</html>")
    _refused(path, "not a readable .npz file")
    images, labels = _arrays_of(30, (8, 8))
    np.savez_compressed(path, x_train=images, y_train=labels)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    _refused(path, "not a readable .npz file")
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 255]) + whole[201:])
    _refused(path, "not a readable .npz file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.npy", b"")
    _refused(path)
    np.savez(path, other=images)
    _refused(path, "holds 'other'; needs x_train")
    np.savez(path, x_train=images, y_train=labels)
    monkeypatch.setattr(folders, "free_memory", lambda: 1_000)
    _refused(path, "of memory are free")
