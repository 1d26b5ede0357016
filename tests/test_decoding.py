"""What decoding makes of each kind of image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pixels import image_file

from convscope import data


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
