"""Tables of image files become data sets: their columns, what is left out, and what is refused."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from pixels import arrays, image_file, refused

from convscope import data
from convscope.data.columns import parse_columns
from convscope.data.listed import Options, list_file
from convscope.errors import UserError


def table(path: Path, header: str, rows: Iterable[tuple[object, ...]], mark: str = ",") -> Path:
    """Write a table, its header given with spaces between the names."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=mark)
        writer.writerows([header.split(), *rows])
    return path


@pytest.fixture
def pets(tmp_path: Path, cache: Path) -> Path:
    """Twelve images of each of two classes in images/, 20×20."""
    for i in range(24):
        image_file(tmp_path / "images" / f"{'cat' if i % 2 else 'dog'}{i}.png")
    return tmp_path


def rows_of(pets: Path) -> list[tuple[str, str]]:
    return [(f"images/{path.name}", path.name[:3]) for path in sorted((pets / "images").iterdir())]


@pytest.mark.parametrize(
    ("name", "header", "mark"),
    [
        ("a.csv", "path label", ","),
        ("b.csv", "File_Name Class", ";"),
        ("c.tsv", "filepaths labels", "\t"),
        ("d.csv", "image species", "|"),
    ],
)
def test_a_table_is_read_as_its_usual_columns_say(
    pets: Path, name: str, header: str, mark: str
) -> None:
    loaded = data.load(table(pets / name, header, rows_of(pets), mark), val=0.25)
    assert (loaded.name, loaded.classes, loaded.in_shape) == (name, ("cat", "dog"), (3, 20, 20))
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (14, 5, 5)
    path, label = header.split()
    assert f"read from the table {name}: path = {path}, label = {label}" in loaded.notes


def test_a_table_has_the_pixels_and_the_split_of_the_same_folder(pets: Path) -> None:
    for path, label in rows_of(pets):
        target = pets / "folder" / label / Path(path).name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((pets / path).read_bytes())
    by_folder = data.load(pets / "folder", split_seed=3)
    rows = [(f"folder/{label}/{Path(path).name}", label) for path, label in rows_of(pets)]
    by_table = data.load(table(pets / "t.csv", "path label", sorted(rows)), split_seed=3)
    assert by_table.hash == by_folder.hash
    for split in ("train", "val", "test"):
        ours, theirs = (arrays(getattr(d, split)) for d in (by_table, by_folder))
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_columns_are_stated_where_their_names_are_not_usual(pets: Path) -> None:
    rows = [(Path(path).stem, label, "x") for path, label in rows_of(pets)]
    path = table(pets / "t.csv", "key kind label", rows)
    refused(path, "no column has a usual name of a path", "'key', 'kind', 'label'", "--columns")
    stated = "path=images/{key}.png, label=kind"
    loaded = data.load(path, columns=stated)
    assert len(loaded.train) + len(loaded.val) + len(loaded.test) == 24
    for wrong, words in {
        "path=nothing": "has no column 'nothing' for the path; its columns are 'key'",
        "path=images/{no}.png": "has no column 'no' for the path",
        "file=key": "'file=key' is not ROLE=COLUMN",
        "path=key,path=kind": "names path twice",
        "label=": "label is empty",
    }.items():
        with pytest.raises(UserError, match=words.replace("{", r"\{")):
            data.load(path, columns=wrong)
    with pytest.raises(UserError, match="for tables"):
        data.load("shapes", columns="path=a")


def test_what_is_left_out_is_counted_and_said(pets: Path) -> None:
    rows = rows_of(pets)
    extra = [("images/gone.png", "cat"), ("images/none.png", "dog"), rows[0], rows[1]]
    unlabelled = [("images/dog0.png", ""), ("images/dog2.png", "NaN"), ("images/dog4.png", "-1")]
    loaded = data.load(table(pets / "t.csv", "path label", [*unlabelled, *rows, *extra]))
    assert len(loaded.train) + len(loaded.val) + len(loaded.test) == 24
    (said,) = (note for note in loaded.notes if note.startswith("left out"))
    assert "3 rows without a label ('images/dog0.png', " in said
    assert "2 rows whose files are missing ('images/gone.png', 'images/none.png')" in said
    assert "2 rows that repeat another one ('images/cat1.png'" in said
    both = [*rows, ("./images/cat1.png", "dog")]
    loaded = data.load(table(pets / "two.csv", "path label", both))
    assert "2 rows of files with two labels or groups" in str(loaded)
    assert len(loaded.train) + len(loaded.val) + len(loaded.test) == 23


def test_splits_of_a_table_are_used(pets: Path) -> None:
    parts = ["Training", "TRAIN", "train", "test", "valid", "extra"]
    rows = [(*row, parts[i // 2 % 6]) for i, row in enumerate(rows_of(pets))]
    kept = [row for row in rows if row[2] != "Training"]
    path = table(pets / "t.csv", "path label split", kept)
    loaded = data.load(path)
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (8, 4, 4)
    assert "4 rows of no known split ('extra'" in str(loaded)
    leak = [*kept, (kept[0][0], kept[0][1], "test")]
    refused(table(pets / "leak.csv", "path label split", leak), "is in train and test; keep one")
    ignored = data.load(path, columns="split=")
    assert len(ignored.train) + len(ignored.val) + len(ignored.test) == len(kept)
    refused(
        table(pets / "no.csv", "path label split", [(*r[:2], "test") for r in kept]), "and no train"
    )
    strange = [(row[0], "fish", "test") for row in kept if row[2] == "test"]
    loaded = data.load(
        table(pets / "f.csv", "path label split", [r for r in kept if r[2] != "test"] + strange)
    )
    assert "4 rows of test images whose class no training image has ('fish'" in str(loaded)


def test_numbers_are_classes_in_their_order(pets: Path) -> None:
    rows = [(path, f"{(1, 2, 10)[i % 3]}.0") for i, (path, _) in enumerate(rows_of(pets))]
    loaded = data.load(table(pets / "t.csv", "path label", [*rows, ("images/x.png", "")]), val=0)
    assert loaded.classes == ("1", "2", "10")


def test_two_columns_that_look_like_labels_and_differ_are_refused(pets: Path) -> None:
    rows = [(path, label, i % 3) for i, (path, label) in enumerate(rows_of(pets))]
    path = table(pets / "t.csv", "path label category", rows)
    refused(path, "'label' and 'category' both look like the labels and differ")
    assert data.load(path, columns="label=category").num_classes == 3
    same = [(path, label, label.upper()) for path, label in rows_of(pets)]
    assert data.load(table(pets / "s.csv", "path label class_name", same)).classes == ("cat", "dog")


def test_a_table_without_names_of_columns_is_read(pets: Path) -> None:
    path = pets / "list.csv"
    path.write_text("\n".join(f"{label},{path}" for path, label in rows_of(pets)))
    loaded = data.load(path)
    assert loaded.classes == ("cat", "dog") and "no line of column names" in str(loaded)
    path.write_text("\n".join(f"7,{label},{path}" for path, label in rows_of(pets)))
    assert data.load(path, columns="path=3,label=2").classes == ("cat", "dog")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_other_encodings_are_read(pets: Path, encoding: str) -> None:
    lines = ["path,label", *(f"{p},{label.replace('o', 'ö')}" for p, label in rows_of(pets))]
    (pets / "t.csv").write_bytes("\r\n".join(lines).encode(encoding))
    loaded = data.load(pets / "t.csv")
    assert loaded.classes == ("cat", "dög")
    assert ("Windows-1252" in str(loaded)) == (encoding == "cp1252")


def test_what_is_no_table_is_refused_in_one_line(pets: Path) -> None:
    for content, words in {
        b"": "empty; needs a line of column names",
        b"path,label\n": "has column names and no rows",
        b"path,label\nimages/cat1.png\n": "line 2 has 1 fields and the first 2",
        b"\x89PNG\0\0": "not a text file",
        b"path,label\nimages/cat1.png,cat\nimages/cat3.png,cat\n": "one class alone, 'cat'",
        b"path,label\nimages/cat1.png,Cat\nimages/dog2.png,cat\n": "differ by case",
        b"path,label\nimages/cat1.png,\n": "no row is left: left out 1 row without a label",
        b"path,label\nhttp://a/b.png,cat\n\x01\x02,dog\n": "none of its files is there",
    }.items():
        (pets / "t.csv").write_bytes(content)
        refused(pets / "t.csv", words)
    rows = [(Path(path).stem, label) for path, label in rows_of(pets)]
    message = refused(table(pets / "t.csv", "id label", rows), "none of its files is there")
    assert "say --columns 'path=images/{id}.png'" in message
    assert len(data.load(pets / "t.csv", columns="path=images/{id}.png").classes) == 2
    (pets / "images" / "cat1.png").write_text("text")
    refused(table(pets / "t.csv", "path label", rows_of(pets)), "1 bad file: 'images/cat1.png'")


@pytest.mark.slow
def test_a_table_of_100_000_rows_is_read(pets: Path) -> None:
    one = (pets / "images" / "dog0.png").read_bytes()
    (pets / "many").mkdir()
    for n in range(1000):
        (pets / "many" / f"{n}.png").write_bytes(one)
    # a file costs what it costs by another path: a hundred names of the folder make 100,000 rows
    for i in range(100):
        (pets / f"many{i}").symlink_to("many")
    rows = ((f"many{i}/{n}.png", n % 7, n % 991) for i in range(100) for n in range(1000))
    path = table(pets / "t.csv", "path label patient", rows)
    listed = list_file(path, Options())
    assert len(listed.listing.files) == 100_000 and listed.groups is not None


def test_columns_are_parsed() -> None:
    assert parse_columns('path=a,"label=b, c",split=') == {
        "path": "a",
        "label": "b, c",
        "split": "",
    }
