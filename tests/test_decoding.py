"""What decoding makes of each kind of image."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pixels import image_file

from convscope import data
from convscope.data.decoding import RULES
from convscope.errors import UserError


def _decoded(
    tmp_path: Path,
    save: Callable[[Path], object],
    ending: str = ".png",
    size: int | None = None,
    resize: str = "crop",
) -> np.ndarray:
    """The image as H×W×C, decoded as one of a folder of its like."""
    for name in ("a", "b"):
        for i in range(4):
            path = tmp_path / "kinds" / name / f"{i}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path)
    return (
        data.load(tmp_path / "kinds", size=size, resize=resize)
        .train.images[0]
        .permute(1, 2, 0)
        .numpy()
    )


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


def test_turns_and_formats_are_said(tmp_path: Path, cache: Path) -> None:
    for i in range(8):
        exif = Image.Exif()
        exif[0x0112] = 6 if i % 4 == 0 else 1
        for name, ending in (("a", ".jpg"), ("b", ".png" if i % 2 else ".jpg")):
            path = tmp_path / "d" / name / f"{i}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 30 + i), (9 * i, 20, 30)).save(path, exif=exif)
    (tmp_path / "d" / "a" / "8.jpg").write_bytes(Path(tmp_path / "d" / "a" / "1.jpg").read_bytes())
    image_file(tmp_path / "d" / "a" / "tall.jpg", (20, 90))
    found = data.load(tmp_path / "d")
    assert found.notes[0] == "4 of 18 images are turned as their EXIF data say"
    assert "they were 40×30 to 20×90" in found.notes[1]  # by area
    assert found.said[:2] == (
        "read as 2 classes, no folders of splits; 14 JPEG, 4 PNG files",
        found.notes[0],
    )


def test_broken_metadata_do_not_spoil_good_pixels(tmp_path: Path, cache: Path) -> None:
    image = Image.new("RGB", (20, 20), (1, 2, 3))
    assert _decoded(tmp_path, lambda path: image.save(path, exif=b"Exif\0\0garbage"), ".png")[
        0, 0
    ].tolist() == [1, 2, 3]


def test_the_side_is_chosen_from_the_images(tmp_path: Path, cache: Path) -> None:
    for i, size in enumerate([(30, 50), (39, 60), (70, 39), (200, 100)]):
        for name in ("a", "b"):
            image_file(tmp_path / "d" / name / f"{i}.png", size)
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


def test_the_rule_of_resizing(tmp_path: Path, cache: Path) -> None:
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, :32], pixels[:, 32:64], pixels[:, 64:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    for name in "ab":
        for i in range(4):
            (tmp_path / "d" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "d" / name / f"{i}.png")
    found = {rule: data.load(tmp_path / "d", size=32, resize=rule) for rule in RULES}
    first = {rule: d.train.images[0].permute(1, 2, 0).numpy() for rule, d in found.items()}
    assert (first["crop"] == (0, 255, 0)).all()
    assert first["squash"][16, [4, 16, 28]].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert first["pad"][:10].max() == 0 and first["pad"][22:].max() == 0
    assert first["pad"][16, [4, 16, 28]].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    for rule, words in RULES.items():
        assert f"resized the images to 32×32 ({words}): they were 96×32" in found[rule].notes[0]
    assert len({d.hash for d in found.values()}) == 3
    assert data.load(tmp_path / "d", size=32).hash == found["crop"].hash
    with pytest.raises(UserError, match="resize = 'fit': must be crop, squash or pad"):
        data.load(tmp_path / "d", resize="fit")
    with pytest.raises(UserError, match="resize = pad: shapes has no use for it"):
        data.load("shapes", resize="pad")


def test_rotated_photographs_are_padded_upright(tmp_path: Path, cache: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    pixels = np.full((16, 32), 255, np.uint8)
    decoded = _decoded(
        tmp_path, lambda path: Image.fromarray(pixels).save(path, exif=exif), resize="pad"
    )[..., 0]
    assert decoded.shape == (16, 16) and decoded[:, 8].min() > 250 and decoded[:, :3].max() < 5


def _frames(path: Path) -> None:
    """Red, then green."""
    first, second = (Image.new("RGB", (20, 20), colour) for colour in ("red", "green"))
    first.save(path, save_all=True, append_images=[second], duration=40, lossless=True)


@pytest.mark.parametrize(
    ("ending", "format"),
    [(".gif", "GIF"), (".webp", "WEBP"), (".png", "PNG"), (".tiff", "TIFF")],
)
def test_the_first_of_several_frames_is_read_and_said(
    tmp_path: Path, cache: Path, ending: str, format: str
) -> None:
    assert _decoded(tmp_path, _frames, ending)[5, 5].tolist() == [255, 0, 0]
    notes = data.load(tmp_path / "kinds").notes
    assert notes[0] == f"8 files hold several frames or pages ({format}): the first one is read"


def test_the_first_picture_of_an_mpo_file_is_read(tmp_path: Path, cache: Path) -> None:
    def save(path: Path) -> None:
        first, second = (Image.new("RGB", (20, 20), colour) for colour in ("red", "green"))
        first.save(path, "MPO", save_all=True, append_images=[second])

    assert abs(_decoded(tmp_path, save, ".jpg")[5, 5].astype(int) - (254, 0, 0)).max() < 3
    assert "several frames or pages (MPO)" in data.load(tmp_path / "kinds").notes[0]


def test_a_palette_with_shades_of_transparency_is_laid_on_white(
    tmp_path: Path, cache: Path
) -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    half = _decoded(tmp_path, lambda path: image.save(path, transparency=bytes([255, 128])))
    assert half[3, 3].tolist() == pytest.approx([255, 127, 127], abs=1)


def test_grey_and_colour_together_have_three_channels(tmp_path: Path, cache: Path) -> None:
    for i in range(4):
        image_file(tmp_path / "d" / "a" / f"{i}.png")
        image_file(tmp_path / "d" / "b" / f"{i}.webp", mode="L", lossless=True)
        image_file(tmp_path / "d" / "b" / f"{i}.png", mode="L")
    found = data.load(tmp_path / "d", val=0)
    assert found.in_shape == (3, 20, 20) and found.preview is not None
    assert found.notes[0] == "4 of 12 images are grey: their three channels are equal"
    grey = found.train.images[found.train.labels == 1]
    assert bool((grey[:, 0] == grey[:, 2]).all())
    assert found.preview.formats == {"PNG": 8, "WEBP": 4}


def test_a_preview_says_what_the_files_are(tmp_path: Path, cache: Path) -> None:
    for i, size in enumerate([(30, 50), (30, 50), (70, 39), (200, 100)]):
        image_file(tmp_path / "d" / "a" / f"{i}.png", size)
        image_file(tmp_path / "d" / "b" / f"{i}.jpg", size)
    (tmp_path / "d" / "a" / "labels.csv").write_text("x")
    info = data.info(data.load(tmp_path / "d"))
    lines = str(info).splitlines()
    assert lines[1:6] == [
        "read as: 2 classes, no folders of splits",
        "formats: 4 PNG, 4 JPEG",
        "pixels: 8 RGB",
        "sizes: 4 30×50, 2 70×39, 2 200×100; from 30×50 to 200×100",
        "resized the images to 36×36 (shorter side, centre kept): they were 30×50 to 200×100",
    ]
    assert lines[6] == "skipped 1 entry (not an image): 'a/labels.csv'"
    tree = json.loads(json.dumps(info.to_json()))
    assert tree["preview"]["sizes"] == {"30×50": 4, "70×39": 2, "200×100": 2}
    assert tree["preview"]["skipped"][0]["why"] == "not an image"
