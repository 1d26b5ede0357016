"""Archives of images: read without unpacking what is not needed, and refused where not safe."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pixels import image_file, refused

from convscope import data
from convscope.data import members
from convscope.errors import UserError


@pytest.fixture
def pets(tmp_path: Path, cache: Path) -> Path:
    """Two classes of ten images in pets/, and what is no image."""
    for name in ("cat", "dog"):
        for i in range(10):
            image_file(tmp_path / "pets" / name / f"{i}.png")
    (tmp_path / "pets" / "README.md").write_text("read me")
    image_file(tmp_path / "pets" / "__MACOSX" / "cat" / "._0.png")
    return tmp_path / "pets"


def packed(folder: Path, path: Path, top: str = "") -> Path:
    """The folder's files in an archive, below `top`."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    names = [(file, f"{top}{file.relative_to(folder)}") for file in files]
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file, name in names:
                archive.write(file, name)
    else:
        with tarfile.open(
            path, f"w:{path.suffix[1:].replace('tar', '').replace('tgz', 'gz')}"
        ) as t:
            for file, name in names:
                t.add(file, name)
    return path


@pytest.mark.parametrize("name", ["p.zip", "p.tar", "p.tar.gz", "p.TGZ", "p.tar.bz2", "p.tar.xz"])
@pytest.mark.parametrize("top", ["", "a/pets/"])
def test_an_archive_is_the_folder_in_it(pets: Path, tmp_path: Path, name: str, top: str) -> None:
    made = packed(pets, tmp_path / name.lower(), top)
    loaded = data.load(made.rename(tmp_path / name))
    (pets / "README.md").unlink()
    folder = data.load(pets)
    assert loaded.hash == folder.hash and loaded.classes == folder.classes
    assert loaded.source == "an archive with a folder of images" and loaded.name == name
    assert "of the archive, skipped 1 entry (hidden): '" in str(loaded)
    assert "of the archive, skipped 1 entry (not an image): 'README.md'" in str(loaded)
    assert "README.md" in str(loaded)
    (kept,) = {p for p in data.cache_folder().rglob("*") if p.suffix == ".png"} or {None}
    assert kept is None  # what was unpacked is gone


def test_only_the_part_that_is_named_is_unpacked(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(4):
        image_file(pets / "more" / "a" / f"{i}.png")
    made = packed(pets, tmp_path / "p.zip")
    (pets / "cat").rename(tmp_path / "cat")  # only what was packed counts
    unpacked: list[str] = []
    opened = zipfile.ZipFile.open
    monkeypatch.setattr(
        zipfile.ZipFile,
        "open",
        lambda self, member, *more, **named: (
            unpacked.append(getattr(member, "filename", member))
            or opened(self, member, *more, **named)
        ),
    )
    with pytest.raises(UserError, match="one class alone, 'a'"):
        data.load(made / "more")
    assert unpacked == [f"more/a/{i}.png" for i in range(4)]
    with pytest.raises(UserError, match="has no 'less'; it holds 'README"):
        data.load(made / "less")


@pytest.mark.parametrize("name", ["p.zip", "p.tar.gz"])
def test_a_table_in_an_archive_is_read(pets: Path, tmp_path: Path, name: str) -> None:
    rows = [f"cat/{i}.png,{i % 2},p{i // 2}" for i in range(8)] + ["cat/99.png,1,p1", "../x,1,p1"]
    (pets / "t.csv").write_text("\n".join(["path,label,patient", *rows]))
    made = packed(pets, tmp_path / name, "top/")
    loaded = data.load(made, val=0)
    assert loaded.classes == ("0", "1") and len(loaded.train) + len(loaded.test) == 8
    assert loaded.source == "an archive with a table of image files"
    assert "2 rows whose files are missing ('cat/99.png', '../x')" in str(loaded)
    assert "1 of 4 groups" in str(loaded)
    same = data.load(made / "top" / "t.csv", val=0)
    assert same.hash == loaded.hash and same.name == f"{name}/top/t.csv"
    folder = data.load(pets / "t.csv", val=0)
    assert folder.hash == loaded.hash
    (pets / "u.csv").write_text("\n".join(["path,label", *(row[:-3] for row in rows[:8])]))
    both = packed(pets, tmp_path / f"two-{name}")
    with pytest.raises(UserError, match=r"has 2 tables of images \('t.csv', 'u.csv'\); write"):
        data.load(both)
    other = data.load(both / "u.csv", val=0, columns="label=label")
    assert len(other.train) + len(other.test) == 8


def png(size: int = 20) -> bytes:
    content = io.BytesIO()
    from PIL import Image

    Image.new("RGB", (size, size)).save(content, "PNG")
    return content.getvalue()


def tar_member(name: str, **changes: object) -> Callable[[Path], Path]:
    """What writes a .tar.gz with one member of this kind beside good ones."""

    def write(folder: Path) -> Path:
        with tarfile.open(folder / "bad.tar.gz", "w:gz") as tar:
            for member in ("a/0.png", "b/0.png"):
                info = tarfile.TarInfo(member)
                info.size = len(png())
                tar.addfile(info, io.BytesIO(png()))
            info = tarfile.TarInfo(name)
            for key, value in changes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(bytes(info.size)) if info.size else None)
        return folder / "bad.tar.gz"

    return write


def zip_member(name: str, content: bytes = b"", mode: int = 0, flag: int = 0) -> Callable:
    def write(folder: Path) -> Path:
        path = folder / "bad.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member in ("a/0.png", "b/0.png"):
                archive.writestr(member, png())
            info = zipfile.ZipInfo("NAME")
            info.filename, info.external_attr = name, mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
        if flag:
            raw = bytearray(path.read_bytes())
            raw[raw.rindex(b"PK\1\2") + 8] |= flag
            path.write_bytes(bytes(raw))
        return path

    return write


def written(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def cut(name: str, count: int) -> Callable[[Path], Path]:
    """An archive whose end is missing."""

    def write(folder: Path) -> Path:
        for i in range(8):
            image_file(folder / "x" / "ab"[i % 2] / f"{i}.png")
        whole = packed(folder / "x", folder / name).read_bytes()
        (folder / name).write_bytes(whole[:count])
        return folder / name

    return write


BAD = {
    "out of a tar": (tar_member("../x.png"), "'../x.png' leads out of the archive"),
    "out by a deeper path": (tar_member("a/../../data_evil/x"), "leads out of the archive"),
    "absolute": (tar_member("/etc/x.png"), "has an absolute path"),
    "symlink": (tar_member("a/1.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link"),
    "hard link": (tar_member("a/1.png", type=tarfile.LNKTYPE, linkname="a/0.png"), "is a link"),
    "pipe": (tar_member("a/1.png", type=tarfile.FIFOTYPE), "is a link or no regular file"),
    "device": (tar_member("a/1.png", type=tarfile.CHRTYPE), "is a link or no regular file"),
    "twice": (tar_member("./a/0.png"), "is there twice"),
    "bomb in a tar": (
        tar_member("a/1.png", size=2 * 2**20),
        "would unpack to over 1 MB, more than 100 times",
    ),
    "bomb beside": (
        tar_member("notes.txt", size=2 * 2**20),
        "would unpack to over 1 MB, more than 100 times",
    ),
    "out of a zip": (zip_member("../x.png"), "leads out of the archive"),
    "by backslashes": (zip_member("..\\x.png"), "leads out of the archive"),
    "drive": (zip_member("C:\\x.png"), "has an absolute path"),
    "link in a zip": (zip_member("a/1.png", b"/etc/passwd", 0o120777), "is a link"),
    "encrypted": (zip_member("a/1.png", b"x", flag=1), "'a/1.png' is encrypted"),
    "bomb in a zip": (
        zip_member("a/1.png", bytes(2 * 2**20)),
        "would unpack to over 1 MB, more than 100 times",
    ),
    "long name": (zip_member(f"a/{'x' * 300}.png", b"x"), "a name that no file can have"),
    "folder and file": (zip_member("a", b"x"), "is a file and a folder"),
    "html": (written("x.zip", b"<html>not found</html>"), "not a whole .zip archive"),
    "html as tar": (
        written("x.tar.gz", b"<html>not found</html>"),
        "not a whole .tar archive: a web page (",
    ),
    "empty": (written("x.tar", b""), "not a whole .tar archive"),
    "empty zip": (written("x.zip", b""), "not a whole .zip archive"),
    "cut zip": (cut("x.zip", 3_000), "not a whole .zip archive"),
    "cut tar": (cut("x.tar", 3_000), "not a whole .tar archive"),
    "cut tar.gz": (cut("x.tgz", 3_000), "not a whole .tar archive"),
}


@pytest.mark.parametrize("kind", BAD)
def test_archives_that_are_not_safe_are_refused(
    tmp_path: Path, cache: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, words = BAD[kind]
    monkeypatch.setattr(members, "ALWAYS_ALLOWED", 2**20)
    path = write(tmp_path)
    refused(path, words, str(path))
    assert not (tmp_path.parent / "x.png").exists() and not list(cache.rglob("*.png"))


def test_a_damaged_member_is_refused(pets: Path, tmp_path: Path) -> None:
    path = packed(pets, tmp_path / "p.zip")
    raw = bytearray(path.read_bytes())
    raw[raw.index((pets / "cat" / "3.png").read_bytes()[50:70]) + 5] ^= 255
    path.write_bytes(raw)
    refused(path, "not a whole .zip archive (Bad CRC-32 for file 'cat/3.png')")
    image = pets / "cat" / "3.png"
    image.write_text("text")
    refused(packed(pets, tmp_path / "q.zip"), "q.zip: 1 bad file: 'cat/3.png' (not an image")


def test_zips_made_on_windows_are_read(pets: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        for file in sorted(pets.glob("[cd]*/*.png")):
            info = zipfile.ZipInfo("NAME")
            info.filename = f"pets\\{file.parent.name}\\{file.name}"
            archive.writestr(info, file.read_bytes())
    assert data.load(tmp_path / "w.zip").hash == data.load(pets).hash


def test_folders_in_an_archive_follow_the_rules_of_folders(pets: Path, tmp_path: Path) -> None:
    (pets / "README.md").unlink()
    (pets / "empty").mkdir()
    with zipfile.ZipFile(packed(pets, tmp_path / "p.zip"), "a") as archive:
        archive.writestr("empty/", b"")
    refused(tmp_path / "p.zip", f"{tmp_path / 'p.zip'}: no images in class 'empty'")
    with pytest.raises(UserError, match="no group can be held out"):
        data.load(packed(pets, tmp_path / "q.zip"), group_by="parent")
    with pytest.raises(UserError, match="has 0 tables"):
        data.load(tmp_path / "q.zip", columns="path=x")


def test_what_else_an_archive_holds_is_offered_and_what_was_skipped_previewed(
    pets: Path, tmp_path: Path
) -> None:
    found = data.load(packed(pets, tmp_path / "p.zip"))
    assert found.preview is not None
    assert "skipped 1 entry (not an image): 'README.md'" in str(found.preview)
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(tmp_path / "p.zip", "data/p.zip")
    refused(tmp_path / "outer.zip", "one class alone", "or unpack 'data/p.zip' and give its path")
    with zipfile.ZipFile(tmp_path / "ids.zip", "w") as archive:
        for i in range(8):
            archive.write(pets / "cat" / f"{i}.png", f"images/{i}.png")
        archive.writestr("t.csv", "id,label\n" + "".join(f"{i},{i % 2}\n" for i in range(8)))
    refused(tmp_path / "ids.zip", "or give the table", "ids.zip/t.csv, with --columns 'path=")
    found = data.load(tmp_path / "ids.zip" / "t.csv", columns="path=images/{id}.png", val=0)
    assert len(found.train) + len(found.test) == 8
