"""Folders, tables, arrays and files that nearly fit: what is wrong is said, with what to do."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pixels import image_file, refused
from test_layouts import each, tree
from test_tables import pets, rows_of, table

from convscope import data

assert pets  # a fixture


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (
            ("good", "good_mask", "bad", "bad_mask"),
            "'bad_mask', 'good_mask' look like what is mark",
        ),
        (("a/images", "a/masks", "b/images", "b/masks"), "'a/masks' looks like what is marked in"),
        ((" a", "a"), "' a' and 'a' differ by case, spaces or accent encoding only"),
    ],
)
def test_what_is_marked_in_images_is_no_class(
    tmp_path: Path, cache: Path, folders: tuple[str, ...], words: str
) -> None:
    refused(tree(tmp_path / "d", *folders), words)


def test_a_single_pair_of_such_names_may_be_classes(tmp_path: Path, cache: Path) -> None:
    assert data.load(tree(tmp_path / "d", "face", "face_mask")).classes == ("face", "face_mask")
    found = data.load(tree(tmp_path / "e", *each("trainval", "test")), val=0)
    assert found.preview is not None
    assert "in trainval/ (train) and test/" in found.preview.rule


def test_images_without_an_ending_are_told_by_their_content(tmp_path: Path, cache: Path) -> None:
    root = tree(tmp_path / "d", "a", "b")
    for path in list((root / "a").iterdir()):
        path.rename(path.with_suffix(""))
    refused(root, "no images in class 'a'", "by its content 'a/", "is an image, name it .png")
    for path in (root / "a").iterdir():
        path.write_text("words")
    refused(root, "no images in class 'a'", "not named as images")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("metadata.jsonl",), "or write 'metadata.jsonl' as a table: a .csv of paths and labels"),
        (("data_batch_1", "test_batch"), "are CIFAR's own files, which are not read: say cifar10"),
    ],
)
def test_lists_of_labels_that_are_not_read_are_named(
    tmp_path: Path, cache: Path, names: tuple[str, ...], words: str
) -> None:
    for name in names:
        (tmp_path / name).write_text("{}")
    refused(tmp_path, words)


def test_jpeg_and_pfm_files_that_no_decoder_takes_are_told(tmp_path: Path, cache: Path) -> None:
    root = tree(tmp_path / "d", "a", "b")
    content = io.BytesIO()
    Image.new("L", (20, 20)).save(content, "JPEG")
    twelve = bytearray(content.getvalue())
    twelve[twelve.index(b"\xff\xc0") + 4] = 12
    (root / "a" / "x.jpg").write_bytes(twelve)
    (root / "b" / "y.pfm").write_bytes(b"PF\n2 2\n-1.0\n" + bytes(48))
    refused(root, "2 bad files", "JPEG of 12 bits, save it as PNG", "PFM of three channels")


def test_a_label_for_each_image_is_no_class(pets: Path) -> None:
    rows = [(path, f"{place / 7:.3f}") for place, (path, _) in enumerate(rows_of(pets))]
    words = "column 'label' holds 24 different labels for 24 training images ('0.000', "
    refused(table(pets / "t.csv", "path label", rows), words, "cut such numbers into classes")
    names = [(path, f"photo {place}") for place, (path, _) in enumerate(rows)]
    message = refused(table(pets / "t.csv", "path label", names), "a class needs several images")
    assert "such numbers" not in message


@pytest.mark.parametrize(("mark", "said"), [("|", True), (";", True), (",", True), (" ", False)])
def test_several_labels_in_a_cell_are_said(pets: Path, mark: str, said: bool) -> None:
    labels = ["cat", f"cat{mark}dog", f"dog{mark}cow"]
    rows = [(path, labels[place % 3]) for place, (path, _) in enumerate(rows_of(pets))]
    found = data.load(table(pets / "t.csv", "path label", rows))
    words = "look like several labels of one image: each combination is a class of its own"
    assert (words in str(found)) is said and len(found.classes) == 3


def test_boxes_and_columns_of_truth_values_are_said(pets: Path) -> None:
    rows = [(*row, 0, 0, 9, 9, place % 4 == 0) for place, row in enumerate(rows_of(pets))]
    found = str(
        data.load(table(pets / "t.csv", "path label Roi.X1 Roi.Y1 Roi.X2 Roi.Y2 valid", rows))
    )
    assert "boxes are not used ('Roi.X1', 'Roi.Y1', 'Roi.X2', 'Roi.Y2'): each image" in found
    assert "column 'valid' is not used: a column of splits holds train, val and test" in found


def test_comments_at_the_top_of_a_table_are_left_out_and_said(pets: Path) -> None:
    path = table(pets / "t.csv", "path label", rows_of(pets))
    content = path.read_text()
    path.write_text(f"# pets, 2026\n\n#made by hand\n{content}")
    assert "2 lines of comment at the top of the table" in str(data.load(path))
    path.write_text(f"#{content}")  # the names of the columns, as some programs write them
    assert "comment" not in str(data.load(path, columns="path=#path"))


def test_labels_of_arrays_are_told_by_their_ends_and_what_numbers_them(
    tmp_path: Path, cache: Path
) -> None:
    images, labels = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2
    np.savez(tmp_path / "d.npz", x_train=images, y_train=2 * labels - 1)
    refused(tmp_path / "d.npz", "(20,), from -1 to 1; needs", "np.unique(y_train, return_inverse")
    np.savez(tmp_path / "d.npz", x_train=images, y_train=np.array(["cat", "dog"])[labels])
    refused(tmp_path / "d.npz", "np.unique(y_train, return_inverse=True)[1] numbers them")


def test_what_arrays_hold_is_said_before_training(tmp_path: Path, cache: Path) -> None:
    images = np.zeros((20, 8, 8), np.uint8)
    images[::2] = 255
    np.savez(tmp_path / "d.npz", arr_0=images, arr_1=np.arange(20) % 2)
    said = data.load(tmp_path / "d.npz").said
    assert said[0] == "read arr_0 with arr_1" and "no test set was given" in said[1]


def test_files_of_several_kinds_of_fault_are_named_one_by_one(tmp_path: Path, cache: Path) -> None:
    root = tree(tmp_path / "d", "a", "b")
    (root / "a" / "x.png").write_bytes(b"")
    image_file(root / "b" / "y.png").write_bytes(b"words")
    refused(root, "'a/x.png' (empty file), 'b/y.png' (not an image", "mend or remove them")
