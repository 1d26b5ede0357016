"""Near-duplicates of real images are found, whatever was done to them, and other images are not."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Cli
from PIL import Image
from torch import Tensor

from convscope import data
from convscope.data import Dataset, NearDuplicates, Split, near_duplicates
from convscope.data.alike import ALIKE, EXAMPLES

# some of the pairs (test image, training image) that Barz and Denzler 2020 found by eye
KNOWN = ((6611, 49007), (159, 25768), (7293, 9640), (6080, 9148))


def compressed(images: Tensor) -> Tensor:
    """Through a JPEG file of low quality."""
    kept = []
    for image in images.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=40)
        kept.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "nothing": lambda x: x,
    "compressed": compressed,
    "moved": lambda x: x.roll((1, -1), (2, 3)),
    "darker": lambda x: (0.6 * x.float()).byte(),
    "grey": lambda x: x.float().mean(1, keepdim=True).expand_as(x).byte(),
}


@pytest.fixture(scope="module")
def slice_of_cifar(cifar_slice: Path) -> Dataset:
    return data.load(cifar_slice, val=0)


def with_test(loaded: Dataset, images: Tensor) -> Dataset:
    return replace(loaded, test=Split(images, torch.zeros(len(images), dtype=torch.int64)))


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found(slice_of_cifar: Dataset, change: str) -> None:
    chosen = torch.arange(0, 1200, 40)
    copies = CHANGES[change](slice_of_cifar.train.images[chosen])
    (found,) = near_duplicates(with_test(slice_of_cifar, copies))
    assert (found.split, found.among, found.images, found.cut) == ("test", ("train",), 30, False)
    least = {"compressed": 27, "moved": 25, "grey": 20}.get(change, 30)
    assert least <= found.found and len(found.examples) == min(EXAMPLES, found.found)
    for pair in found.examples:
        assert pair.other_index == chosen[pair.index] and ALIKE <= pair.likeness <= 1.001


def test_known_pairs_of_cifar10_are_found_and_other_images_are_not(session_cache: Path) -> None:
    whole = data.load("cifar10", val=0)
    ours, theirs = (torch.tensor(indices) for indices in zip(*KNOWN, strict=True))
    train = whole.train.images[torch.cat([theirs, torch.arange(5_000)])]
    test = whole.test.images[torch.cat([ours, torch.arange(1_000)])]
    made = replace(whole, train=Split(train, torch.zeros(len(train), dtype=torch.int64)))
    (found,) = near_duplicates(with_test(made, test))
    pairs = {(pair.index, pair.other_index) for pair in found.examples}
    assert pairs >= {(i, i) for i in range(len(KNOWN))}
    assert found.found - len(KNOWN) <= 10  # of 1,000 test images 29 have one among 50,000
    said = str(found)
    assert said.startswith(f"{found.found} of 1,004 test images have a near-duplicate")
    assert "test accuracy may be a little higher" in said and f"{ALIKE}" in said


def test_validation_images_are_searched_among_the_training_images(cifar_slice: Path) -> None:
    loaded = data.load(cifar_slice)
    seen = replace(loaded, val=Split(loaded.train.images[:7], loaded.train.labels[:7]))
    test, val = near_duplicates(seen)
    assert test.among == ("train", "val") and (val.split, val.among) == ("val", ("train",))
    assert val.found == 7 and "7 of 7 validation images" in str(val)
    assert "test accuracy" not in str(val)


def test_flat_and_few_and_small_images(slice_of_cifar: Dataset) -> None:
    flat = torch.full((6, 3, 32, 32), 128, dtype=torch.uint8)
    none = near_duplicates(with_test(slice_of_cifar, flat))[0]
    assert none.found == 0 and str(none).startswith("none of 6 test images has a near-duplicate")
    few = replace(slice_of_cifar, train=Split(flat, slice_of_cifar.train.labels[:6]))
    assert near_duplicates(few)[0].found == 0
    small = replace(
        slice_of_cifar,
        train=Split(slice_of_cifar.train.images[..., :8, :8], slice_of_cifar.train.labels),
    )
    assert near_duplicates(small) == ()
    wide = torch.nn.functional.interpolate(slice_of_cifar.train.images[:40].float(), (48, 80))
    large = replace(slice_of_cifar, train=Split(wide.byte(), slice_of_cifar.train.labels[:40]))
    assert near_duplicates(with_test(large, wide[:9].byte()))[0].found == 9


def test_very_many_are_searched_in_part(
    slice_of_cifar: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.data.alike.MOST_PAIRS", 1_200 * 5)
    copies = slice_of_cifar.train.images[:30]
    (found,) = near_duplicates(with_test(slice_of_cifar, copies))
    assert (found.images, found.cut, found.found) == (5, True, 5)
    assert "5 of the first 5 test images have" in str(found)


def test_the_result_is_kept_as_json_and_the_command_tells_it(
    cifar_slice: Path, slice_of_cifar: Dataset, cli: Cli
) -> None:
    (found,) = near_duplicates(slice_of_cifar)
    assert NearDuplicates.from_json(json.loads(json.dumps(found.to_json()))) == found
    report = data.info(data.load(cifar_slice), near=True)
    assert json.loads(json.dumps(report.to_json()))["near"][0]["split"] == "test"
    done = cli("data", "info", str(cifar_slice))
    assert "near-duplicates: " in done.out and "of 400 test images" in done.out


def test_what_is_known_of_cifar10_is_said(session_cache: Path) -> None:
    loaded = data.load("cifar10", verify=False)
    assert "3.25 %" in loaded.notes[0] and "Barz and Denzler 2020, ciFAIR" in str(loaded)


def test_many_are_not_called_copies_without_a_doubt() -> None:
    few, many = (NearDuplicates("test", ("train",), 100, False, n, ()) for n in (10, 11))
    assert "by nature" not in str(few) and "by nature, as digits do" in str(many)
