"""Values of more than 8 bits: which range becomes 0 … 255, in files and in arrays."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pixels import refused
from tiffs import tiff

from convscope import data
from convscope.data.depth import Scale, extent_of, scale_of

GREY = np.linspace(0, 1, 400).reshape(20, 20)  # a ramp from black to white


def folder(root: Path, save: Callable[[Path], object], ending: str) -> Path:
    """Two classes of four images that `save` writes."""
    for name in ("a", "b"):
        for i in range(4):
            path = root / name / f"{i}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path)
    return root


def loaded(root: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """The first image as H×W×C, and the notes on the files."""
    found = data.load(root, val=0)
    notes = tuple(note for note in found.notes if "no test set" not in note)
    return found.train.images[0].permute(1, 2, 0).numpy(), notes


def png(
    path: Path, values: np.ndarray, colour_type: int, bits: int = 16, key: tuple[int, ...] = ()
) -> None:
    """A PNG file of 8 or 16 bits, H×W×C; colour type 0 is grey, 2 is RGB, 6 is RGBA.

    bits: of 2 or 4, a byte of `values` holds several pixels.
    key: the transparent value.
    """

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width = values.shape[0], values.shape[1] * (8 // bits or 1)
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    kind = ">u2" if bits == 16 else "u1"
    rows = b"".join(b"\0" + row.astype(kind).tobytes() for row in values)
    chunks = chunk(b"IHDR", header)
    chunks += chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)) if key else b""
    chunks += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_the_bits_that_values_need_are_read(
    tmp_path: Path, cache: Path, bits: int, ending: str
) -> None:
    values = np.rint(GREY * (2**bits - 1)).astype(np.uint16)
    pixels, notes = loaded(
        folder(tmp_path / "d", lambda path: Image.fromarray(values).save(path), ending)
    )
    assert pixels.shape == (20, 20, 1)
    assert np.array_equal(pixels[..., 0], np.rint(values * (255 / (2**bits - 1))).astype(np.uint8))
    said = f"8 grey images hold values from 0 to {2**bits - 1:,}: read as {bits} bits"
    assert notes == () if bits == 16 else said in notes[0]


def test_the_scale_is_that_of_the_data_set_not_of_the_image(tmp_path: Path, cache: Path) -> None:
    def save(path: Path) -> None:
        values = np.full((20, 20), 4095 if path.parent.name == "b" else 1000, np.uint16)
        Image.fromarray(values).save(path)

    found = data.load(folder(tmp_path / "d", save, ".png"), val=0)
    images, labels = found.train.images, found.train.labels
    means = {found.classes[int(y)]: int(x.max()) for x, y in zip(images, labels, strict=True)}
    assert means == {"a": round(1000 / 4095 * 255), "b": 255}


def test_a_narrow_range_is_stretched_and_said(tmp_path: Path, cache: Path) -> None:
    values = np.rint(21_000 + GREY * 3_000).astype(np.uint16)  # as a thermal camera gives
    values[0, 0] = 65_535  # a dead pixel does not spoil the others
    pixels, notes = loaded(
        folder(tmp_path / "d", lambda path: Image.fromarray(values).save(path), ".png")
    )
    assert len(np.unique(pixels)) > 200 and "these are stretched to 0 … 255" in notes[0]
    assert pixels[10, 10, 0] == pytest.approx(255 * GREY[10, 10], abs=3)


def test_values_below_zero_and_wide_floats_are_stretched(tmp_path: Path, cache: Path) -> None:
    hounsfield = np.rint(GREY * 4_000 - 1_000).astype(np.int32)
    pixels, notes = loaded(
        folder(tmp_path / "i", lambda path: Image.fromarray(hounsfield).save(path), ".tif")
    )
    assert np.array_equal(pixels[..., 0], np.rint((hounsfield + 1_000) / 4_000 * 255))
    assert "from -1,000 to 3,000: stretched to 0 … 255" in notes[0]
    floats = (GREY * 255).astype(np.float32)
    pixels, notes = loaded(
        folder(tmp_path / "f", lambda path: Image.fromarray(floats).save(path), ".tif")
    )
    assert np.array_equal(pixels[..., 0], np.rint(floats)) and "255 is white" in notes[0]
    floats[3, 3] = np.nan
    folder(tmp_path / "n", lambda path: Image.fromarray(floats).save(path), ".tif")
    refused(tmp_path / "n", "8 bad files (values that are not finite): 'a/0.tif'")


@pytest.mark.parametrize(("channels", "colour_type"), [(3, 2), (4, 6)])
def test_colours_of_sixteen_bits_keep_their_lower_bytes(
    tmp_path: Path, cache: Path, channels: int, colour_type: int
) -> None:
    values = np.rint(np.dstack([GREY, GREY.T, 1 - GREY]) * 1023).astype(np.uint16)
    expected = np.rint(values * (255 / 1023)).astype(np.uint8)
    if channels == 4:
        values = np.dstack([values, np.full((20, 20), 65_535, np.uint16)])
    pixels, notes = loaded(
        folder(tmp_path / "d", lambda path: png(path, values, colour_type), ".png")
    )
    assert np.array_equal(pixels, expected)
    assert notes == ("8 RGB images hold values from 0 to 1,023: read as 10 bits, 1,023 is white",)
    full = (values[..., :3].astype(np.uint32) * 64).astype(np.uint16)
    pixels, notes = loaded(folder(tmp_path / "full", lambda path: png(path, full, 2), ".png"))
    assert np.array_equal(pixels, full >> 8) and notes == ()


def test_eight_bit_images_beside_wide_ones_stay(tmp_path: Path, cache: Path) -> None:
    narrow, wide = np.rint(GREY * 200), np.rint(GREY * 4095)

    def save(path: Path) -> None:
        kind = (narrow, np.uint8) if path.parent.name == "a" else (wide, np.uint16)
        Image.fromarray(kind[0].astype(kind[1])).save(path)

    found = data.load(folder(tmp_path / "d", save, ".png"), val=0)
    assert int(found.train.images[found.train.labels == 0].max()) == 200
    assert int(found.train.images[found.train.labels == 1].max()) == 255


def test_bits_that_a_file_states_win() -> None:
    extents = [extent_of(np.array([0, 1800], np.uint16), 1, bits=12)]
    assert (scale_of(extents, "2 images").low, scale_of(extents, "2 images").high) == (0, 4095)
    stated = [extent_of(np.array([0, 1800], np.uint16), 1, bits=16)]  # the container, no more
    assert scale_of(stated, "2 images").high == 2047


def test_a_flat_data_set_and_no_image_have_a_scale() -> None:
    assert scale_of([], "none") == Scale()
    flat = scale_of([extent_of(np.full((4, 4), -3, np.int32), 1)], "one")
    assert flat.to_bytes(np.full((4, 4), -3)).max() == 0


def test_grey_of_sixteen_bits_with_transparency_keeps_its_lower_bytes(
    tmp_path: Path, cache: Path
) -> None:
    grey = np.rint(GREY * 4095)
    alpha = np.full((20, 20), 65_535)
    alpha[:4] = 0
    values = np.dstack([grey, alpha]).astype(np.uint16)
    pixels, notes = loaded(folder(tmp_path / "d", lambda path: png(path, values, 4), ".png"))
    assert pixels.shape == (20, 20, 1) and pixels[:4].min() == 255  # laid on white
    assert np.array_equal(pixels[4:, :, 0], np.rint(grey[4:] * (255 / 4095)).astype(np.uint8))
    assert "8 grey images hold values from 0 to 4,095: read as 12 bits" in notes[0]


def test_32_bits_without_a_sign_are_no_negative_values(tmp_path: Path, cache: Path) -> None:
    values = np.rint(GREY * 4e9).astype(np.uint32)

    def save(path: Path) -> None:
        Image.fromarray(values.view(np.int32)).save(path)  # whose tag says that they have one
        content = path.read_bytes()
        place = content.index(struct.pack("<HHI", 339, 3, 1))
        path.write_bytes(content[: place + 8] + b"\1" + content[place + 9 :])

    pixels, notes = loaded(folder(tmp_path / "d", save, ".tif"))
    assert np.array_equal(pixels[..., 0], np.rint(GREY * 255)) and "from 0 to 4,0" in notes[0]


def test_signed_bytes_and_a_white_of_zero_are_read_as_a_tiff_file_means_them(
    tmp_path: Path, cache: Path
) -> None:
    signed = np.rint(GREY * 200 - 100).astype(np.int8)

    def save_signed(path: Path) -> None:
        Image.fromarray(signed.view(np.uint8)).save(path, tiffinfo={339: 2})

    pixels, notes = loaded(folder(tmp_path / "s", save_signed, ".tif"))
    expected = np.rint((signed.astype(int) + 100) / 200 * 255)
    assert np.abs(pixels[..., 0] - expected).max() <= 1 and "from -100 to 100" in notes[0]
    values = np.rint(GREY * 65_535).astype(np.uint16)

    def save_inverted(path: Path) -> None:
        Image.fromarray(65_535 - values).save(path, tiffinfo={262: 0})

    pixels, _ = loaded(folder(tmp_path / "w", save_inverted, ".tif"))
    assert np.array_equal(pixels[..., 0], np.rint(GREY * 255))


def test_a_key_of_sixteen_bits_is_laid_on_white_and_no_value(tmp_path: Path, cache: Path) -> None:
    grey = np.rint(GREY * 4000).astype(np.uint16)
    grey[:3], grey[3] = 65_535, 255  # the key, and a value that has its lower byte
    keyed = folder(tmp_path / "g", lambda path: png(path, grey, 0, key=(65_535,)), ".png")
    pixels, notes = loaded(keyed)
    assert pixels.shape == (20, 20, 1) and pixels[:3].min() == 255
    assert np.array_equal(pixels[3:, :, 0], np.rint(grey[3:] * (255 / 4095)).astype(np.uint8))
    assert notes == (
        "8 grey images hold values from 255 to 4,000: read as 12 bits, 4,095 is white",
    )
    preview = data.load(keyed).preview
    assert preview is not None and preview.pixels == {"grey, 16 bits with transparency": 8}


@pytest.mark.parametrize("white", [1023, 65_535])
def test_a_key_of_three_colours_of_sixteen_bits(tmp_path: Path, cache: Path, white: int) -> None:
    values = np.rint(np.dstack([GREY, GREY.T, 1 - GREY]) * white).astype(np.uint16)
    values[:3], values[3] = (300, 5, 7), (44, 5, 7)  # 44 is the lower byte of 300
    pixels, _ = loaded(
        folder(tmp_path / "d", lambda path: png(path, values, 2, key=(300, 5, 7)), ".png")
    )
    assert pixels[:3].min() == 255
    assert np.abs(pixels[3:] - values[3:] * (255 / white)).max() <= 1


@pytest.mark.parametrize(("bits", "packed", "key"), [(2, 0b00011011, 2), (4, 0x1A, 10)])
def test_a_key_of_few_bits_counts_in_these(
    tmp_path: Path, cache: Path, bits: int, packed: int, key: int
) -> None:
    rows = np.full((20, 20 * bits // 8), packed)
    pixels, _ = loaded(folder(tmp_path / "d", lambda p: png(p, rows, 0, bits, (key,)), ".png"))
    bytes_of = {2: [0, 85, 255, 255], 4: [17, 255]}[bits]  # the key is white
    assert pixels[0, : len(bytes_of), 0].tolist() == bytes_of


@pytest.mark.parametrize(
    ("kind", "channels", "options", "words"),
    [
        ("f8", 1, {}, "1 channel of 64 floating-point bits, which is not read; save its values"),
        ("f2", 1, {}, "save its values with 32 bits"),
        ("u8", 1, {}, "TIFF of 1 channel of 64 bits, which is not read; save 1 or 3 channels of 8"),
        ("u1", 5, {}, "TIFF of 5 channels of 8 bits, which is not read; save 1 or 3 channels"),
        ("u2", 3, {"rgb": True, "apart": True}, "3 channels of 16 bits, one after another, which"),
        ("f4", 4, {"apart": True}, "4 channels of 32 floating-point bits, one after another"),
        ("u1", 8, {"rgb": True}, "TIFF of 8 channels of 8 bits"),
    ],
)
def test_tiff_files_that_are_not_read_are_told_by_what_they_hold(
    tmp_path: Path,
    cache: Path,
    capfd: pytest.CaptureFixture[str],
    kind: str,
    channels: int,
    options: dict[str, bool],
    words: str,
) -> None:
    values = np.dstack([GREY * 200] * channels).astype(kind)
    root = folder(tmp_path / "d", lambda path: tiff(path, values.squeeze(), **options), ".tif")
    refused(root, "8 bad files (TIFF of", words, "and 3 more")
    assert capfd.readouterr() == ("", "")  # Pillow logs some


@pytest.mark.parametrize("channels", [3, 4, 5])
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_channels_behind_red_green_and_blue_are_left_out_and_said(
    tmp_path: Path, cache: Path, channels: int, kind: str
) -> None:
    values = np.dstack([GREY, GREY.T, 1 - GREY, GREY, GREY])[..., :channels]
    values = np.rint(values * (255 if kind == "u1" else 65_535)).astype(kind)
    root = folder(tmp_path / "d", lambda path: tiff(path, values, rgb=True), ".tif")
    if (kind, channels) == ("u2", 5):
        refused(root, "TIFF of 5 channels of 16 bits")
        return
    pixels, notes = loaded(root)
    first = values[..., :3] >> (0 if kind == "u1" else 8)
    assert np.array_equal(pixels, first)
    said = (
        "8 images have more channels than red, green and blue (TIFF): the first three are read",
    )
    assert [note.removesuffix(" as these") for note in notes] == [*said][: int(channels > 3)]
