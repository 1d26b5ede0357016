"""Image arrays in .npz files become data sets: layouts, and faults in one line."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pixels import arrays, refused

from convscope import data
from convscope.data import memory


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
        ({"x_train": np.full((30, 8, 8), np.nan, np.float32)}, "not finite; store uint8"),
        ({"x_train": np.zeros((30, 8, 8), "U1")}, "x_train is <U1; store uint8"),
        ({"y_train": np.ones((30, 3), np.int64)}, "y_train has 3 labels for each image"),
        ({"x_train": np.zeros((30, 8, 8, 9), np.uint8)}, "has shape"),
        ({"y_train": np.zeros(29, np.int64)}, "30 images in x_train and 29 labels"),
        ({"y_train": np.full(30, -1)}, "whole numbers from 0"),
        ({"y_train": np.full(30, 0.5)}, "y_train is float64"),
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
    refused(tmp_path / "d.npz", words, str(tmp_path))


def test_files_that_are_not_npz_arerefused(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.npz"
    path.write_text("<html>not found</html>")
    refused(path, "not a readable .npz file")
    images, labels = _arrays_of(30, (8, 8))
    np.savez_compressed(path, x_train=images, y_train=labels)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "not a readable .npz file")
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 255]) + whole[201:])
    refused(path, "not a readable .npz file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.npy", b"")
    refused(path)
    np.savez(path, other=images)
    refused(path, "holds 'other'; needs x_train")
    np.savez(path, x_train=images, y_train=labels)
    monkeypatch.setattr(memory, "free_memory", lambda: 1_000)
    refused(path, "of memory are free")


@pytest.mark.parametrize(
    ("names", "sizes"),
    [
        ("train_images train_labels val_images val_labels test_images test_labels", (30, 9, 6)),
        ("X_train Y_train X_val Y_val X_test Y_test", (30, 9, 6)),
        ("trainX trainY validX validY testX testY", (30, 9, 6)),
        ("train_x train_y dev_x dev_y test_x test_y", (30, 9, 6)),
        ("images_train labels_train images_valid labels_valid images_test labels_test", (30, 9, 6)),
        ("train_data train_target val_data val_target test_data test_target", (30, 9, 6)),
        ("x y", (24, 0, 6)),
        ("data target", (24, 0, 6)),
        ("arr_0 arr_1", (24, 0, 6)),
    ],
)
def test_names_of_arrays_as_they_occur(
    tmp_path: Path, cache: Path, names: str, sizes: tuple[int, ...]
) -> None:
    images, labels = _arrays_of(30, (8, 8))
    counts = (30, 30, 9, 9, 6, 6)
    arrays = {
        name: (labels[:n, None] if i % 2 else images[:n]).astype(np.uint8)
        for i, (name, n) in enumerate(zip(names.split(), counts, strict=False))
    }
    np.savez(tmp_path / "d.npz", **arrays)
    found = data.load(tmp_path / "d.npz", val=0)
    assert found.in_shape == (1, 8, 8) and found.classes == ("0", "1", "2")
    assert (len(found.train), len(found.val), len(found.test)) == sizes
    first, second = names.split()[:2]
    usual = first in ("train_images", "x_train", "images")
    assert usual or f"{first} with {second}" in found.notes[0]


def test_arrays_that_are_not_used_are_said_and_doubtful_ones_refused(
    tmp_path: Path, cache: Path
) -> None:
    images, labels = _arrays_of(30, (8, 8))
    path = tmp_path / "d.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=images[:3], masks=images)
    assert data.load(path).notes[0] == "arrays that are not used: 'masks', 'x_test'"
    np.savez(path, X_train=images, train_data=images, y_train=labels)
    refused(path, "'X_train', 'train_data' may all be the train images; keep one")
    np.savez(path, x_train=images, train_images=images + 1, y_train=labels)
    assert np.array_equal(arrays(data.load(path, val=0).train)[0][0, ..., 0], images[0])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda images: images / np.float32(255), ""),
        (lambda images: images.astype(np.float64), "values from 0 to 255: 255 is white"),
        (lambda images: images.astype(np.int64), "read as 8 bits, 255 is white"),
        (lambda images: images.astype(np.uint16) * 16, "read as 12 bits, 4,095 is white"),
        (lambda images: images / np.float32(127.5) - 1, "from -1 to 1: stretched to 0 … 255"),
    ],
)
def test_numbers_of_other_types_become_bytes(
    tmp_path: Path, cache: Path, make: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    images, labels = _arrays_of(30, (9, 8))
    images[0, 0, :2] = 0, 255
    np.savez(
        tmp_path / "d.npz",
        x_train=make(images),
        y_train=labels,
        x_test=make(images[:6]),
        y_test=labels[:6],
    )
    found = data.load(tmp_path / "d.npz", val=0)
    assert abs(arrays(found.train)[0][..., 0].astype(int) - images).max() <= (1 if said else 0)
    assert found.notes == () if not said else said in found.notes[0]


def test_bits_and_labels_of_ones(tmp_path: Path, cache: Path) -> None:
    images, labels = _arrays_of(30, (8, 8))
    np.savez(tmp_path / "d.npz", x=images > 127, y=np.eye(3)[labels])
    found = data.load(tmp_path / "d.npz", val=0)
    pixels, kept = arrays(found.train, found.test)
    assert set(np.unique(pixels)) == {0, 255} and np.bincount(kept).tolist() == [10, 10, 10]
    np.savez(tmp_path / "d.npz", x_train=images / 255, y_train=labels, x_test=images, y_test=labels)
    refused(tmp_path / "d.npz", "images are float64 and uint8; give all one type")


def test_labels_as_whole_floats_and_splits_of_different_ranges(tmp_path: Path, cache: Path) -> None:
    images, labels = _arrays_of(30, (8, 8))
    path = tmp_path / "d.npz"
    np.savez(path, x_train=images, y_train=labels.astype(np.float32))
    assert data.load(path).classes == ("0", "1", "2")
    raw = images.astype(np.float32)
    np.savez(path, x_train=raw / 255, y_train=labels, x_test=raw[:6], y_test=labels[:6])
    refused(path, "x_train goes to 1 and x_test goes to 255; scale all splits alike")
    np.savez(path, x_train=raw / 255, y_train=labels, x_test=raw[:6] / 300, y_test=labels[:6])
    assert len(data.load(path).test) == 6
