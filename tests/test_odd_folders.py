"""Folders and files as other programs leave them: what is no class is never taken for one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image
from pixels import image_file, refused
from test_layouts import each, tree

from convscope import data


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (("train", "test1"), "images in test1/ and train/ without class folders"),
        (("train", "train_masks"), "images in train/ and train_masks/ without class folders"),
        (("train", "test_2", "sample"), "test_2/ and train/ beside class folders, with images"),
        (("images", "masks"), "'images', 'masks' are the images and labels of detection or segm"),
        (("JPEGImages", "Annotations!", "ImageSets!"), "are the images and labels of detection"),
        (("images", "labels!"), "not classes; for classification, put the images of each class"),
        (
            ("train/images", "train/labels!", "test/images", "test/labels!"),
            "d/train: 'images', 'labels' are the images and labels of detection",
        ),
        (each("train/images", "test/images"), "or move those in"),
        (each("archive/My Pets"), "d/archive/My Pets if its folders are the classes"),
    ],
)
def test_folders_of_other_tasks_are_no_classes(
    tmp_path: Path, cache: Path, folders: tuple[str, ...], words: str
) -> None:
    refused(tree(tmp_path / "d", *folders), words, str(tmp_path / "d"))


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        (("1_train", "2_val", "3_test"), (6, 6, 6)),
        (("train", "validate", "tests"), (6, 6, 6)),
        (("train", "test1"), (6, 0, 6)),
        (("01 Training", "02 Testing"), (6, 0, 6)),
    ],
)
def test_numbers_and_other_forms_in_names_of_splits(
    tmp_path: Path, cache: Path, names: tuple[str, ...], counts: tuple[int, ...]
) -> None:
    found = data.load(tree(tmp_path / "d", *each(*names)), val=0)
    assert found.classes == ("cat", "dog")
    assert (len(found.train), len(found.val), len(found.test)) == counts


def test_words_of_other_tasks_may_be_classes(tmp_path: Path, cache: Path) -> None:
    found = data.load(tree(tmp_path / "d", "mask", "no_mask"))
    assert found.classes == ("mask", "no_mask")
    assert data.load(tree(tmp_path / "e", "label", "image", "logo")).num_classes == 3


def test_what_programs_write_and_held_out_images(tmp_path: Path, cache: Path) -> None:
    found = data.load(tree(tmp_path / "d", *"ab", "runs"))
    assert "runs/ is taken as a class, since it holds images: remove it if" in found.notes[0]
    for name in ("Held-Out", "heldout"):
        assert len(data.load(tree(tmp_path / name, *each("train", name))).test) == 6


def test_what_else_a_folder_holds_is_offered(tmp_path: Path, cache: Path) -> None:
    root = tree(tmp_path / "d", "images")
    (root / "labels.csv").write_text("path,label\n")
    refused(root, "one class alone, 'images'", "or give the path of the table 'labels.csv'")
    kaggle = tree(tmp_path / "kaggle", "train", "test")
    (kaggle / "train.csv").write_text("id,label\n")
    refused(kaggle, "images in test/ and train/ without", "the path of the table 'train.csv'")
    flat = tree(tmp_path / "flat", ".")
    (flat / "t.tsv").write_text("path\tlabel\n")
    refused(flat, "holds 3 images and no class folders", "the path of the table 't.tsv'")
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "cat.ZIP").write_bytes(b"")
    refused(
        tmp_path / "packed",
        "holds no images and no class folders",
        "or give the path of the archive 'cat.ZIP'",
    )


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic", ": HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", ": AVIF"),
        (b"version https://git-lfs.github.com/spec/v1\n", ": a pointer of Git LFS"),
        (b"\n<!DOCTYPE html><title>404</title>", ": a web page"),
        (bytes(128) + b"DICM", ": DICOM"),
        (b"what is this", ")"),
    ],
)
def test_a_file_that_no_decoder_knows_is_named_by_its_first_bytes(
    tmp_path: Path, cache: Path, head: bytes, what: str
) -> None:
    root = tree(tmp_path / "d", *"ab")
    (root / "a" / "x.jpg").write_bytes(head + bytes(80))
    refused(root, f"'a/x.jpg' (not an image of a known format{what}")


def test_images_in_a_format_that_is_not_read_are_said_where_they_leave_a_class_empty(
    tmp_path: Path, cache: Path
) -> None:
    root = tree(tmp_path / "d", "a", "b!")
    (root / "b" / "IMG_1.HEIC").write_bytes(b"x")
    words = "skipped 1 entry (in a format that is not read): 'b/IMG_1.HEIC': save them as PNG"
    refused(root, "no images in class 'b'", words)
    shutil.rmtree(root / "a")
    (root / "a").mkdir()
    refused(root, "no images in its 2 class folders", words)


def test_other_endings_of_the_same_formats_are_read(tmp_path: Path, cache: Path) -> None:
    for name in "ab":
        for ending in (".jpe", ".JPEG", ".jfif", ".Jpg"):
            path = tmp_path / "d" / name / f"0{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (7, 9, len(ending))).save(path, "JPEG")
        image_file(tmp_path / "d" / name / "0.mpo", format="MPO")
        image_file(tmp_path / "d" / name / "2.apng", format="PNG")
    found = data.load(tmp_path / "d", val=0)
    assert len(found.train) + len(found.test) == 12
    assert not any("skipped" in note for note in found.notes)


def test_photographs_of_50_megapixels_are_read(tmp_path: Path, cache: Path) -> None:
    root = tree(tmp_path / "d", *"ab")
    Image.new("L", (8160, 6144), 90).save(root / "a" / "phone.jpg")  # as several phones write
    found = data.load(root, val=0)
    assert len(found.train) + len(found.test) == 7 and found.preview is not None
    assert found.preview.range[1] == "8160×6144"


def test_images_of_one_colour_are_said(tmp_path: Path, cache: Path) -> None:
    root = tree(tmp_path / "d", *"ab")
    icon = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    icon.paste((255, 255, 255, 255), (2, 2, 6, 6))
    icon.save(root / "b" / "icon.png")  # white on nothing
    said = str(data.load(root))
    assert "1 of 7 images is of one colour alone, as 'b/icon.png': transparency is laid" in said
    image_file(root / "a" / "black.png", (8, 8), colour="black")
    (root / "b" / "icon.png").unlink()
    assert "as 'a/black.png'." in str(data.load(root))


def test_the_same_pixels_in_two_classes_are_said(tmp_path: Path, cache: Path) -> None:
    root = tree(tmp_path / "d", *"ab", images=6)
    assert data.info(data.load(root)).contradictions == 0
    shutil.copy(root / "a" / "0.png", root / "b" / "copy.png")
    found = data.info(data.load(root))
    assert found.contradictions == 2
    assert "2 images have the pixels of one of another class" in str(found)
