"""Images in parquet and arrow files, from disk and from a Hub that a local server plays."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from pixels import arrays, image_file, refused

from convscope import data
from convscope.data.hub import parse_hub_name
from convscope.errors import UserError


def test_without_pyarrow_one_line_says_what_to_install(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pyarrow", "pyarrow.parquet", "pyarrow.types", "pyarrow.ipc"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    refused(tmp_path / "train.parquet", "train.parquet: ", "pip install 'convscope[parquet]'")
    refused(tmp_path, "pip install 'convscope[parquet]'")
    with pytest.raises(UserError, match="not installed"):
        data.load("hf:owner/name")


def test_names_of_the_hub_are_parsed() -> None:
    found = parse_hub_name("hf:owner/na-me_1.0/sub/dir@v1")
    assert (found.repository, found.folder, found.revision) == ("owner/na-me_1.0", "sub/dir", "v1")
    for wrong in ("hf:", "hf:a/../b", "hf:a b/c", "hf:a/b@x y", "hf:a/b/../c"):
        with pytest.raises(UserError, match="must be hf:OWNER/NAME"):
            parse_hub_name(wrong)


def png(number: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (20, 20, 3), np.uint8)).save(
        content, "PNG"
    )
    return content.getvalue()


@pytest.fixture
def arrow() -> Any:
    return pytest.importorskip("pyarrow")


def table_of(arrow: Any, labels: Sequence[int | None], start: int = 0, **more: Any) -> Any:
    """Rows as the library `datasets` writes them, with their features."""
    images = [{"bytes": png(start + i), "path": f"{i}.png"} for i in range(len(labels))]
    names = ["cat", "dog", "newt"]
    features = {
        "image": {"_type": "Image"},
        "label": {"names": names, "_type": "ClassLabel"},
        **{name: {"dtype": "string", "_type": "Value"} for name in more},
    }
    about = json.dumps({"info": {"features": features}})
    made = arrow.table(
        {
            "image": arrow.array(
                images, arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
            ),
            "label": arrow.array(labels, arrow.int64()),
            **{name: arrow.array(values) for name, values in more.items()},
        }
    )
    return made.replace_schema_metadata({"huggingface": about})


def as_parquet(arrow: Any, made: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    __import__("pyarrow.parquet")
    arrow.parquet.write_table(made, path, row_group_size=4)
    return path


def as_arrow(arrow: Any, made: Any, path: Path, whole: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = arrow.ipc.new_file if whole else arrow.ipc.new_stream
    with opened(str(path), made.schema) as writer:
        writer.write_table(made)
    return path


LABELS = [0, 1, 0, 1, -1, 0, 1, None, 0, 1]


def check(loaded: data.Dataset) -> None:
    """The images of LABELS, their classes and what is said of them."""
    assert loaded.classes == ("cat", "dog") and len(loaded.train) == 8 and len(loaded.test) == 4
    images, labels = arrays(loaded.train)
    for i, row in enumerate([0, 1, 2, 3, 5, 6, 8, 9]):
        assert np.array_equal(images[i], np.asarray(Image.open(io.BytesIO(png(row)))))
        assert labels[i] == LABELS[row]
    said = str(loaded)
    assert "left out 2 rows without a known label ('train row 5', 'train row 8')" in said
    assert "no training image is of 'newt'" in said


def test_a_clone_of_a_repository_is_read(arrow: Any, tmp_path: Path, cache: Path) -> None:
    for place in ("data", "."):
        root = tmp_path / f"repository{len(place)}"
        as_parquet(
            arrow, table_of(arrow, LABELS[:4]), root / place / "train-00000-of-00002.parquet"
        )
        as_parquet(
            arrow, table_of(arrow, LABELS[4:], 4), root / place / "train-00001-of-00002.parquet"
        )
        as_parquet(
            arrow, table_of(arrow, [0, 1, 1, 0], 50), root / place / "test-00000-of-00001.parquet"
        )
        as_parquet(arrow, table_of(arrow, [0], 60), root / place / "unsupervised.parquet")
        loaded = data.load(root, val=0)
        check(loaded)
        assert "skipped files of no known split" in str(loaded)
        assert loaded.source == "images in parquet or arrow files"


@pytest.mark.parametrize("whole", [False, True])
def test_what_save_to_disk_wrote_is_read(
    arrow: Any, tmp_path: Path, cache: Path, whole: bool
) -> None:
    root = tmp_path / "saved"
    as_arrow(arrow, table_of(arrow, LABELS), root / "train" / "data-00000-of-00001.arrow", whole)
    as_arrow(arrow, table_of(arrow, [0, 1, 1, 0], 50), root / "test" / "data-0.arrow", whole)
    (root / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    (root / "train" / "state.json").write_text("{}")
    check(data.load(root, val=0))


def test_groups_and_other_columns_are_read(arrow: Any, tmp_path: Path, cache: Path) -> None:
    people = [f"p{i // 4}" for i in range(40)]
    made = table_of(arrow, [i % 2 for i in range(40)], patient=people, kind=["x", "y"] * 20)
    path = as_parquet(arrow, made, tmp_path / "one.parquet")
    loaded = data.load(path)
    assert "2 of 10 groups (8 images, 20.0%)" in str(loaded) and loaded.classes == ("cat", "dog")
    assert data.load(path, columns="label=kind,group=").classes == ("x", "y")
    with pytest.raises(UserError, match="has no column 'site' for the group"):
        data.load(path, group_by="site")
    plain = made.replace_schema_metadata(None)
    assert data.load(as_parquet(arrow, plain, tmp_path / "p.parquet")).classes == ("0", "1")


def test_a_parquet_table_of_paths_is_read(arrow: Any, tmp_path: Path, cache: Path) -> None:
    rows = {"path": [], "label": [], "patient": []}
    for i in range(40):
        image_file(tmp_path / f"{i}.png")
        for name, value in zip(rows, (f"{i}.png", "ab"[i % 2], i // 4), strict=True):
            rows[name].append(value)
    made = arrow.table({**rows, "box": [[1, 2]] * 40})
    made = made.set_column(1, "label", made["label"].dictionary_encode())
    by_parquet = data.load(as_parquet(arrow, made, tmp_path / "t.parquet"))
    cells = zip(*rows.values(), strict=True)
    lines = ["path,label,patient", *(",".join(map(str, row)) for row in cells)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert by_parquet.hash == data.load(tmp_path / "t.csv").hash
    assert "2 of 10 groups" in str(by_parquet)


def test_what_cannot_be_read_is_one_line(arrow: Any, tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 no PAR1")
    refused(path, "not a readable parquet or arrow file", str(path))
    (tmp_path / "x.arrow").write_bytes(b"no arrow")
    refused(tmp_path / "x.arrow", "not a readable parquet or arrow file")
    refused(as_parquet(arrow, table_of(arrow, [0, 0, 0]), path), "have 1 classes by column 'label'")
    made = table_of(arrow, [0, 1] * 6)
    made = made.append_column("fine_label", made["label"]).rename_columns(
        ["image", "coarse_label", "fine_label"]
    )
    features = {
        name: {"names": ["a", "b"], "_type": "ClassLabel"} for name in made.column_names[1:]
    }
    about = json.dumps({"info": {"features": features}})
    as_parquet(arrow, made.replace_schema_metadata({"huggingface": about}), path)
    refused(path, "labels are in 'coarse_label', 'fine_label'; say --columns label=coarse_label")
    assert data.load(path, columns="label=fine_label").classes == ("a", "b")
    bad = table_of(arrow, [0, 1] * 6).set_column(0, "image", arrow.array([b"no image"] * 12))
    refused(as_parquet(arrow, bad, path), "12 bad files (not an image", "'train row 1'")
    root = tmp_path / "several"
    for name in ("small", "large"):
        as_parquet(arrow, table_of(arrow, [0, 1]), root / "data" / f"train-{name}.parquet")
        as_parquet(arrow, table_of(arrow, [0, 1]), root / "train" / f"{name}.parquet")
    refused(root, "several sets of files, in '', 'data'")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files a server shows as repositories: hub/OWNER/NAME@REVISION/FILES."""
    root = tmp_path / "hub"
    root.mkdir()

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = self.path.partition("?")[0].strip("/").split("/")
            if parts[:2] == ["api", "datasets"] and parts[4:5] == ["tree"]:
                place = root / parts[2] / f"{parts[3]}@{unquote(parts[5]).replace('/', '-')}"
                files = [file for file in sorted(place.rglob("*")) if file.is_file()]
                entries = [
                    {
                        "type": "file",
                        "path": str(file.relative_to(place)),
                        "size": file.stat().st_size,
                        "lfs": {"oid": hashlib.sha256(file.read_bytes()).hexdigest()},
                    }
                    for file in files
                ]
                content = json.dumps(entries).encode()
                found = place.exists()
            else:
                place = root / parts[1] / f"{parts[2]}@{unquote(parts[4]).replace('/', '-')}"
                file = place / "/".join(parts[5:])
                content = file.read_bytes() if file.is_file() else b""
                if (root / "damage").exists():
                    content = content[:-1] + b"?"
                found = file.is_file()
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield root
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("revision", ["main", "refs-convert-parquet"])
def test_a_data_set_of_the_hub_is_fetched_once(
    arrow: Any, hub: Path, cache: Path, revision: str
) -> None:
    (hub / "owner" / "name@main").mkdir(parents=True)
    root = hub / "owner" / f"name@{revision}"
    as_parquet(arrow, table_of(arrow, LABELS), root / "default" / "train-0.parquet")
    as_parquet(arrow, table_of(arrow, [0, 1, 1, 0], 50), root / "default" / "test-0.parquet")
    loaded = data.load("hf:owner/name", val=0)
    check(loaded)
    shown = revision.replace("refs-convert-", "refs/convert/")
    assert loaded.source == f"the Hugging Face Hub, hf:owner/name at revision {shown}"
    for file in root.rglob("*.parquet"):
        file.unlink()
    assert data.load("hf:owner/name", val=0).hash == loaded.hash  # from the cache


def test_what_the_hub_lacks_is_one_line(
    arrow: Any, hub: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(data.DataUnavailable, match=r"not on the Hub, or not public \(HTTP 404\)"):
        data.load("hf:owner/name")
    root = hub / "owner" / "name@main"
    as_parquet(arrow, table_of(arrow, [0, 1] * 6), root / "train.parquet")
    (hub / "damage").touch()
    with pytest.raises(data.DataUnavailable, match=r"train.parquet came damaged; try again"):
        data.load("hf:owner/name")
    with pytest.raises(UserError, match=r"has no folder 'fine'; it has 'train.parquet'"):
        data.load("hf:owner/name/fine")
    with pytest.raises(UserError, match="size = 0"):
        data.load("hf:owner/name", size=0)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(data.DataUnavailable, match=r"cannot be reached \(ConnectionError\)"):
        data.load("hf:owner/name")
    assert not list((cache / "datasets").glob("[!.]*"))


def test_what_datasets_cached_beside_the_rows_is_not_read(
    arrow: Any, tmp_path: Path, cache: Path
) -> None:
    root = tmp_path / "saved"
    as_arrow(arrow, table_of(arrow, [0, 1] * 6), root / "data-00000-of-00001.arrow")
    as_arrow(arrow, table_of(arrow, [0, 1] * 6), root / "cache-0123abc.arrow")
    found = data.load(root, val=0)
    assert len(found.train) + len(found.test) == 12
    empty = table_of(arrow, [0, 1]).set_column(
        0, "image", arrow.array([None, None], arrow.binary())
    )
    refused(as_parquet(arrow, empty, tmp_path / "e.parquet"), "left out 2 rows without an image")
