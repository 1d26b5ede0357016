"""Which folders are splits and which are classes, by their names and by what they hold."""

# ruff: noqa: PTH118, PTH119 - names of folders are texts, as the system lists them

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from convscope.data.listing import (
    ARCHIVE_SUFFIXES,
    BESIDE,
    COPY,
    EMPTY,
    TABLE_SUFFIXES,
    UNLABELLED,
    Skips,
    ending,
    quoted,
    text_of,
    why_loose,
)
from convscope.data.tree import THUMBNAILS, Look, Tree
from convscope.errors import UserError, one_line
from convscope.words import listed

WORDS = {
    "train": "train training trn trainval",
    "val": "val valid validation validate validating dev",
    "test": "test tests testing tst eval evaluation holdout",
}
SPLITS = {word: split for split, words in WORDS.items() for word in words.split()}

# what programs write beside images: such a folder is no class unless it holds images itself
OUTPUTS = {
    *("runs", "run", "wandb", "mlruns", "lightning_logs", "checkpoints", "logs", "log"),
    *("outputs", "output", "results", "weights", "plots", "figures", "predictions", "venv"),
    *("tensorboard", "tb_logs", "saved_models", "node_modules", "cache"),
}

# the two folders of a task that is no classification: images, and what is marked in them
PICTURES = {*("image", "images", "img", "imgs", "jpegimages", "input", "inputs", "photos")}
MARKS = {
    *("mask", "masks", "label", "labels", "annotation", "annotations", "annots", "anns", "gt"),
    *("groundtruth", "segmentation", "segmentations", "segmentationclass", "segmentationobject"),
    *("bbox", "bboxes", "boxes", "json", "xml", "labeltxt", "imagesets"),
}

# images without labels, by the names that such folders have
ASIDE = {
    *("pred", "predict", "sample", "samples", "sample_images", "submission", "unsup", "extra"),
    *("unlabeled", "unlabelled", "unknown", "backup", "old", "misc", "tmp", "temp"),
}


@dataclass(frozen=True)
class Layout:
    """Where the classes are.

    folders: split -> the folder that holds its class folders.
    notes: what is to be said of it, sentences without the full stop.
    """

    folders: dict[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Named:
    """A folder whose name says a split: which, and what else the name says."""

    name: str
    split: str
    rest: str

    @property
    def words(self) -> str:
        """The rest without numbers, by which 1_train and 2_test are a pair."""
        return " ".join(word for word in self.rest.split() if not word.isdigit())


def split_of(name: str) -> tuple[str, str] | None:
    """The split that a folder's name says, and the rest of the name; None where it says none.

    The case does not matter, and neither do words around it: Training, seg_train, test-images,
    valSet. The rest tells pairs of splits from names that hold such a word by chance.
    """
    joined = re.sub(r"h[eo]ld[-_ ]?out", "holdout", name, flags=re.IGNORECASE)
    tokens = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+|[^A-Za-z0-9\s._-]+", joined)
    found, rest = [], []
    for token in tokens:
        low = token.lower()
        word = re.sub(r"(?<=.)(set|data)$", "", low)
        if split := SPLITS.get(low) or SPLITS.get(word):
            found.append(split)
        elif low not in ("set", "data", "split"):
            rest.append(low)
    return (found[0], " ".join(rest)) if len(found) == 1 else None


def layout_of(root: str, tree: Tree, skips: Skips) -> Layout:
    """The splits of a folder; the folder itself where it has class folders alone.

    A folder of a split holds class folders. Beside such folders nothing is a class: what is there
    is skipped and said, and where it may be one, the folder is refused.
    """
    top = tree.used(root, skips)
    splits = _named(top.folders)
    labelled = [one for one in splits if tree.peek(os.path.join(root, one.name)).folders]
    if any(one.split == "train" for one in labelled):
        return _with_splits(root, tree, top, splits, labelled, skips)
    shown = one_line(root)
    if labelled:
        names = listed(_slash(one.name) for one in labelled)
        holds, say = ("hold", "them") if len(labelled) > 1 else ("holds", "it")
        raise UserError(
            f"{shown}: {names} {holds} class folders but there is no train folder with class "
            f"folders; add train/CLASS/images, or rename {say} if a split is not meant"
        )
    _refuse_flat_splits(root, tree, top, splits)
    _refuse_one_level_down(root, tree, top)
    _refuse_folds(root, tree, top)
    notes = tuple(
        f"{_slash(one.name)} is taken as a class, since it holds images and no class folders"
        for one in splits
    )
    notes += tuple(
        f"{_slash(name)} is taken as a class, since it holds images: remove it if a program made it"
        for name in top.folders
        if name.lower() in OUTPUTS and tree.peek(os.path.join(root, name)).images
    )
    return Layout({"train": root}, notes)


def _named(names: Iterable[str]) -> list[_Named]:
    """The folders that are named for splits: train and what goes with it.

    Names with other words count as a group alone, as seg_train and seg_test.
    """
    found = [_Named(name, *said) for name in names if (said := split_of(name)) is not None]
    plain = [one for one in found if not one.rest]
    if any(one.split == "train" for one in plain):
        return [one for one in found if not one.words]
    for words in dict.fromkeys(one.words for one in found):
        group = [one for one in found if one.words == words]
        if {"train"} < {one.split for one in group}:
            return group
    return plain


def _with_splits(
    root: str, tree: Tree, top: Look, splits: list[_Named], labelled: list[_Named], skips: Skips
) -> Layout:
    """The layout of a root whose train folder holds class folders."""
    folders: dict[str, str] = {}
    for one in labelled:
        if one.split in folders:
            pair = f"{os.path.basename(folders[one.split])} and {one.name}"
            raise UserError(
                f"{one_line(root)}: {one_line(pair)} are both {one.split} folders; keep one"
            )
        folders[one.split] = os.path.join(root, one.name)
    if len(splits) == 1:
        _refuse_if_train_may_be_a_class(root, tree, top, splits[0])
    for name in top.folders:
        if name not in {one.name for one in labelled}:
            path, of_split = os.path.join(root, name), name in {one.name for one in splits}
            flat = tree.peek(path).images if of_split else 0
            skips.add(path, UNLABELLED if flat else EMPTY if of_split else BESIDE)
    for entry in top.files:
        skips.add(entry.path, why_loose(entry.name))
    for split, path in folders.items():
        inner = tree.peek(path).folders
        if len(inner) == 1 and inner[0] == os.path.basename(path):  # seg_train/seg_train/CLASS
            folders[split] = os.path.join(path, inner[0])
    train = set(tree.look(folders["train"]).folders)
    for split in [split for split in folders if split != "train"]:
        inner = tree.peek(folders[split]).folders
        if len(inner) == 1 and not train & set(inner):
            skips.add(folders.pop(split), UNLABELLED)
    return Layout({split: folders[split] for split in WORDS if split in folders})


def _refuse_if_train_may_be_a_class(root: str, tree: Tree, top: Look, train: _Named) -> None:
    """UserError where train/, alone as a split, is among folders that may be classes, as vehicles.

    Folders that programs make, copies of the classes and names of other uses are none.
    """
    inside = tree.peek(os.path.join(root, train.name)).folders
    others = []
    for name in top.folders:
        below = tree.peek(os.path.join(root, name))
        known = name.lower() in OUTPUTS | ASIDE or split_of(name) is not None or name in inside
        copy = set(inside) & set(below.folders) or _named(below.folders)
        deep = any(tree.peek(os.path.join(root, name, one)).images for one in below.folders)
        if not known and not copy and (below.images or deep):
            others.append(name)
    if others:
        raise UserError(
            f"{one_line(root)}: {_slash(train.name)} may be the training images or a class "
            f"beside {quoted(map(text_of, others))}; rename it if it is a class, move the others "
            "away if it is not"
        )


def _refuse_flat_splits(root: str, tree: Tree, top: Look, splits: list[_Named]) -> None:
    """UserError where a folder named for a split holds images that have no class."""
    flat = [one for one in splits if tree.peek(os.path.join(root, one.name)).images]
    if not flat:
        return
    known = {one.name for one in splits}
    others = [  # as test1 and train_masks
        name
        for name in top.folders
        if name not in known and split_of(name) and tree.peek(os.path.join(root, name)).images
    ]
    names = listed(map(_slash, sorted([*(one.name for one in flat), *others])))
    shown = one_line(root)
    if len(splits) + len(others) == len(top.folders):
        raise UserError(
            f"{shown}: images in {names} without class folders; put the images of each class in a "
            f"folder of its own, train/CLASS/image.png{also_there(top)}"
        )
    doubtful = [one for one in flat if one.name.lower() not in ("train", "valid", "dev")]
    if doubtful or others or len(flat) > 1:
        raise UserError(
            f"{shown}: {names} beside class folders, with images that have no class of their own; "
            f"move them away, or rename the folder if it is a class{also_there(top)}"
        )


def _refuse_one_level_down(root: str, tree: Tree, top: Look) -> None:
    """UserError where the splits lie in a folder of the root, as an archive leaves them."""
    for name in top.folders:
        below = os.path.join(root, name)
        for one in _named(tree.peek(below).folders):
            if one.split == "train" and tree.peek(os.path.join(below, one.name)).folders:
                raise UserError(
                    f"{one_line(root)}: the splits are one folder further down, in "
                    f"{_slash(name)}; give {one_line(below)}"
                )


def _refuse_folds(root: str, tree: Tree, top: Look) -> None:
    """UserError where the folders are numbered parts of the data, each with the classes inside."""
    folds = [
        name for name in top.folders if re.fullmatch(r"(?i)(fold|split|part|cv|k)[-_ ]?\d+", name)
    ]
    if len(folds) > 1 and all(tree.peek(os.path.join(root, name)).folders for name in folds):
        raise UserError(
            f"{one_line(root)}: {quoted(folds)} are parts of the data, not classes; "
            "name them train, val and test, or put the class folders on top"
        )


def class_folders(root: str, folder: str, tree: Tree, skips: Skips) -> tuple[str, ...]:
    """The names of the class folders in a folder; what else is there is skipped.

    Outputs of programs and copies of the class folders are no classes. Raises UserError where
    there is none.
    """
    look = tree.look(folder) if folder == root else tree.used(folder, skips)
    if not look.folders:
        held = f"holds {look.images:,} images and" if look.images else "holds no images and"
        held = held if look.files else "is empty:"
        raise UserError(
            f"{one_line(folder)}: {held} no class folders; put the images of each class "
            f"in a folder of its own, CLASS/image.png{also_there(look)}"
        )
    _refuse_marks(folder, look)
    for entry in look.files:
        skips.add(entry.path, why_loose(entry.name))
    classes = []
    for name in look.folders:
        path = os.path.join(folder, name)
        below = tree.peek(path)
        siblings = set(look.folders) - {name}
        if len(siblings) > 1 and len(siblings & set(below.folders)) >= max(2, len(siblings) - 1):
            skips.add(path, COPY)
        elif name.lower() in OUTPUTS and not below.images and len(siblings) > 1:
            skips.add(path, BESIDE)
        else:
            classes.append(name)
    _refuse_marks_in_classes(folder, classes, tree)
    return tuple(classes)


def also_there(look: Look) -> str:
    """What else in a folder may be meant, as the end of a remedy; "" where there is nothing."""
    found = [entry.name for entry in look.files]
    tables = [name for name in found if ending(name) in TABLE_SUFFIXES]
    lists = [name for name in found if ending(name) in (".jsonl", ".json", ".xlsx", ".xls")]
    pickled = [name for name in found if re.fullmatch(r"data_batch_\d|test_batch|meta|train", name)]
    packed = [name for name in found if name.lower().endswith(ARCHIVE_SUFFIXES)]
    if not tables and not packed:
        if len(pickled) > 1:
            return f"; {quoted(pickled)} are CIFAR's own files, which are not read: say cifar10"
        named = quoted(map(text_of, lists))
        return f", or write {named} as a table: a .csv of paths and labels" if lists else ""
    several = len(tables or packed) > 1
    what = ("one of the tables" if several else "the table") if tables else "the archive"
    what = "one of the archives" if several and not tables else what
    return f", or give the path of {what} {quoted(map(text_of, tables or packed))}"


def _refuse_marks(folder: str, look: Look) -> None:
    """UserError where the folders are images and what is marked in them: no classes."""
    plain = {name.lower().replace("_", "").replace(" ", "") for name in look.folders}
    if plain & PICTURES and plain & MARKS and plain <= PICTURES | MARKS:
        raise UserError(
            f"{one_line(folder)}: {quoted(map(text_of, look.folders))} are the images and labels "
            "of detection or segmentation, not classes; for classification, put the images of "
            "each class in a folder of its own, CLASS/image.png"
        )
    low = {name.lower(): name for name in look.folders}
    ends = re.compile(r"[\s_-]*(mask|label|annotation)s?$")
    marked = [name for name in low if ends.search(name) and ends.sub("", name) in low]
    if len(marked) > 1:  # one alone may be a class, as face_mask
        raise UserError(
            f"{one_line(folder)}: {quoted(text_of(low[name]) for name in marked)} look like what "
            "is marked in the images of the folders without that word; move them away"
        )


def _refuse_marks_in_classes(folder: str, classes: Sequence[str], tree: Tree) -> None:
    """UserError where a class folder holds images and, beside them, what is marked in them."""
    for name in classes:
        below = {inner.lower(): inner for inner in tree.peek(os.path.join(folder, name)).folders}
        if set(below) & PICTURES and (marks := sorted(set(below) & MARKS)):
            one = f"{text_of(name)}/{text_of(below[marks[0]])}"
            raise UserError(
                f"{one_line(folder)}: {one_line(one, 80)!r} looks like what is marked in the "
                "images beside it, and would count as images of the class; move such folders away"
            )


def notes_on_nesting(folder: str, classes: tuple[str, ...], tree: Tree) -> tuple[str, ...]:
    """What is to be said where class folders hold folders whose images count to the class."""
    deep = {
        name: [
            below
            for below in tree.peek(os.path.join(folder, name)).folders
            if below.lower() not in THUMBNAILS
        ]
        for name in classes
    }
    holding = [name for name, below in deep.items() if below]
    if not holding:
        return ()
    of_splits = {below for name in holding for below in deep[name] if split_of(below)}
    if of_splits:
        said = f"the splits {quoted(sorted(map(text_of, of_splits)))} inside class folders"
        return (f"{said} are not used: their images are pooled; put splits above the classes",)
    first = deep[classes[0]]
    if len(first) > 1 and all(below == first for below in deep.values()):
        said = f"each class folder holds the same folders {quoted(map(text_of, first))}"
        return (f"{said}: their images are pooled; if these are the classes, put them on top",)
    example = f"{text_of(holding[0])}/{text_of(deep[holding[0]][0])}"
    said = f"images in folders of a class folder count to the class, as {example!r}"
    return (f"{said}; --classes nested makes such a folder a class of its own",)


def _slash(name: str) -> str:
    """A folder's name as it is said."""
    return one_line(text_of(name), 80) + "/"
