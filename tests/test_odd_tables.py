"""Tables as other programs and other machines write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pixels import refused
from test_tables import pets, rows_of, table

from convscope import data
from convscope.errors import UserError

assert pets  # a fixture


def labels_of(found: data.Dataset) -> int:
    return sum(map(len, (found.train, found.val, found.test)))


@pytest.mark.parametrize(
    ("start", "slash", "said"),
    [
        ("/kaggle/input/pets/images/", "/", "'/kaggle/input/pets/'"),
        ("C:\\Users\\me\\pets\\images\\", "\\", "'C:/Users/me/pets/'"),
        ("../pets/images/", "/", "'../pets/'"),
        ("images\\", "\\", ""),
        ("./images\\", "/", ""),
    ],
)
def test_paths_of_other_machines_are_read_and_said(
    pets: Path, start: str, slash: str, said: str
) -> None:
    rows = [(start + Path(path).name, label) for path, label in rows_of(pets)]
    found = data.load(table(pets / "t.csv", "path label", rows))
    assert labels_of(found) == 24 and found.classes == ("cat", "dog")
    notes = [note for note in found.notes if "paths begin with" in note]
    assert notes == [] if not said else said in notes[0]


def test_paths_that_are_nowhere_are_refused(pets: Path) -> None:
    rows = rows_of(pets)
    elsewhere = [(f"/data/{i}/{path}", label) for i, (path, label) in enumerate(rows)]
    refused(table(pets / "t.csv", "path label", elsewhere), "none of its files is there")
    web = [(f"https://example.com/{i}.png", label) for i, (_, label) in enumerate(rows)]
    refused(table(pets / "t.csv", "path label", web), "an address; download the images")
    large = [(path.replace(".png", ".PNG"), label) for path, label in rows]
    words = "'cat1.png' is there: write the names in the same letters"
    refused(table(pets / "t.csv", "path label", large), words)
    (pets / "tables").mkdir()
    below = table(pets / "tables" / "t.csv", "path label", rows)
    refused(below, "say --columns 'path=../{path}'")
    assert labels_of(data.load(below, columns="path=../{path}")) == 24


def test_ids_are_looked_for_in_the_folder_of_the_tables_split(pets: Path) -> None:
    for split in ("test", "train", "more"):
        (pets / split).mkdir()
        (pets / split / "0.png").write_bytes((pets / "images" / "dog0.png").read_bytes())
    rows = [("0", "cat"), ("1", "dog")]
    for name, place in (("train", "train"), ("labels", "train"), ("test", "test")):
        path = table(pets / f"{name}.csv", "id label", rows)
        refused(path, f"say --columns 'path={place}/{{id}}.png'")


def test_pixels_in_cells_are_refused_with_a_remedy(pets: Path) -> None:
    path = table(pets / "t.csv", "label pixel0 pixel1", [(1, 0, 255), (0, 1, 3)])
    refused(path, "pixels in a table ('pixel0', 'pixel1') are not read: write them to .npz")


def test_a_line_for_excel_and_names_of_columns_in_other_forms(pets: Path) -> None:
    rows = [(path, label, int(Path(path).stem[3:]) // 4) for path, label in rows_of(pets)]
    path = table(pets / "t.csv", "FilePath Class patientId", rows, ";")
    path.write_text("sep=;\n" + path.read_text())
    found = data.load(path, val=0)
    assert labels_of(found) == 24 and "of 6 groups" in str(found)
    assert "path = FilePath, label = Class, group = patientId" in str(found)


def test_columns_of_one_name_are_refused(pets: Path) -> None:
    rows = [(path, label, i % 3) for i, (path, label) in enumerate(rows_of(pets))]
    refused(table(pets / "t.csv", "path label label", rows), "two columns of one name, 'label'")
    refused(table(pets / "t.csv", "path label Label", rows), "'label', 'Label'; rename one")


def test_minus_one_is_a_class_beside_one(pets: Path) -> None:
    rows = [(path, 2 * (i % 2) - 1) for i, (path, _) in enumerate(rows_of(pets))]
    found = data.load(table(pets / "t.csv", "path label", rows))
    assert found.classes == ("-1", "1") and labels_of(found) == 24


def test_a_column_whose_cells_name_splits_is_used_whatever_its_name(pets: Path) -> None:
    parts = ["train", "train", "test"]
    rows = [(*row, parts[i // 2 % 3]) for i, row in enumerate(rows_of(pets))]
    found = data.load(table(pets / "t.csv", "path label phase", rows), val=0)
    assert (len(found.train), len(found.test)) == (16, 8) and "split = phase" in str(found)
    drawn = data.load(pets / "t.csv", columns="split=", val=0)
    assert len(drawn.test) == 5
    spoken = [(*row[:2], f"{row[2].title()} set") for row in rows]
    found = data.load(table(pets / "u.csv", "path label split", spoken), val=0)
    assert (len(found.train), len(found.test)) == (16, 8)


def test_a_column_of_truth_values_is_said_to_be_no_split(pets: Path) -> None:
    rows = [(*row, i % 2) for i, row in enumerate(rows_of(pets))]
    said = str(data.load(table(pets / "t.csv", "path label is_train", rows)))
    assert "column 'is_train' is not used: a column of splits holds train, val and test" in said


@pytest.mark.parametrize("name", ["fold", "kfold", "Fold_ID", "cv", "cv fold", "test_fold"])
@pytest.mark.parametrize("form", ["{}", "fold_{}", "{}.0"])
def test_a_column_of_folds_is_said_not_to_be_used(pets: Path, name: str, form: str) -> None:
    rows = [(path, label, form.format(i % 3)) for i, (path, label) in enumerate(rows_of(pets))]
    path = pets / "t.csv"
    path.write_text("\n".join(map(",".join, [("path", "label", name), *rows])))
    words = f"column '{name}' (3 folds) is not used: images are held out across its folds; "
    assert f"{words}--group-by {name} holds whole folds out" in str(data.load(path))


def test_whole_folds_are_held_out_where_they_are_the_groups(pets: Path) -> None:
    rows = [(path, label, i // 2 % 4) for i, (path, label) in enumerate(rows_of(pets))]
    path = table(pets / "t.csv", "path label fold", rows)
    found = data.load(path, group_by="fold")
    assert (len(found.train), len(found.val), len(found.test)) == (12, 6, 6)
    assert "is not used" not in str(found)
    with pytest.raises(UserError, match="--group-by fold holds whole folds out"):
        data.load(path, columns="split=fold")
    numbers = table(pets / "u.csv", "path label subset", rows)
    assert "'subset' names no split" in (said := str(data.load(numbers)))
    assert "--group-by subset holds whole folds out" in said


def test_folds_beside_splits_or_groups_and_columns_that_are_none(pets: Path) -> None:
    parts = ["train", "train", "test"]
    rows = [(*row, parts[i // 2 % 3], i % 4, i // 2) for i, row in enumerate(rows_of(pets))]
    found = str(data.load(table(pets / "t.csv", "path label split fold x", rows), val=0))
    assert "(4 folds) is not used: to validate on a fold, write val for it into 'split'" in found
    alone = [(*row[:2], *row[3:]) for row in rows]
    grouped = data.load(table(pets / "g.csv", "path label fold patient", alone))
    assert "(4 folds) is not used: groups are held out, across its folds" in str(grouped)
    own = [(*row[:2], "val" if i in (0, 1) else row[2], i) for i, row in enumerate(rows)]
    assert "fold" not in str(data.load(table(pets / "v.csv", "path label split fold", own)))
    words = [(*row[:2], f"paper {i}") for i, row in enumerate(rows)]
    assert "not used" not in str(data.load(table(pets / "w.csv", "path label fold", words)))


def test_too_few_images_are_told_with_what_was_left_out(pets: Path) -> None:
    rows = rows_of(pets)
    rows += [(path, "cat") for path, label in rows if label == "dog"][1:]
    refused(table(pets / "t.csv", "path label", rows), "t.csv: class 'dog' has 1", "two labels or")


def test_columns_of_zeros_and_ones_are_explained(pets: Path) -> None:
    rows = [(path, float(label == "cat"), float(label == "dog")) for path, label in rows_of(pets)]
    words = "'MEL', 'NV' hold a single 1 in each row: write the name of that column into"
    refused(table(pets / "t.csv", "image MEL NV", rows), "no column has a usual name", words)
    several = [(path, 1, int(cat)) for path, cat, _ in rows]
    refused(table(pets / "t.csv", "image a b", several), "hold several labels for an image")


def test_what_is_left_out_stands_in_the_preview(pets: Path) -> None:
    rows = [*rows_of(pets), ("images/gone.png", "cat")]
    found = data.load(table(pets / "t.csv", "path label", rows))
    assert found.preview is not None
    assert "skipped 1 entry (whose files are missing): 'images/gone.png'" in str(found.preview)
