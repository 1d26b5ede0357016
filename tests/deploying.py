"""What tests of finished networks share: a folder of images with splits, and runs on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from convscope.recipe.networks import ConvNet, Custom, Model
from convscope.recipe.recipe import Recipe

REFERENCE = ConvNet(
    8, 2, block_depth=2, norm="batch", skip=True, head="gap", stem="whiten", pool_at="first"
)
DARKENED = {3: 0.25, 5: 0.6, 8: 1.0}  # class -> factor
STRONG = Custom("convscope.recipes.strong:network", {"widths": [8, 16, 16]})


def write_images(npz: Path, folder: Path) -> None:
    """Train and test folders of three classes; images of several sizes, depths and formats.

    Two of the classes are darkened, so that a network learns to tell them in a few steps.
    """
    with np.load(npz) as file:
        arrays = dict(file)
    for split, count in (("train", 40), ("test", 20)):
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        for label in (3, 5, 8):
            place = folder / split / str(arrays["classes"][label])
            place.mkdir(parents=True)
            for i, pixels in enumerate(images[labels == label][:count]):
                save((pixels * DARKENED[label]).astype(np.uint8), i, place)


def save(pixels: np.ndarray, i: int, place: Path) -> None:
    image = Image.fromarray(pixels)
    if i % 4 == 1:
        image.resize((50, 40)).save(place / f"{i:02d}.jpg")
    elif i % 4 == 2:  # 12 bits of grey, which is stretched by the range of the whole data set
        grey = np.asarray(image.convert("L")).astype(np.uint16) * 16
        Image.fromarray(grey).save(place / f"{i:02d}.png")
    elif i % 4 == 3:  # lies on its side, and says so
        exif = Image.Exif()
        exif[0x0112] = 6
        image.resize((36, 48)).save(place / f"{i:02d}.png", exif=exif)
    else:
        image.save(place / f"{i:02d}.png")


def recipe_of(data: Path, model: Model = REFERENCE, **changes: object) -> Recipe:
    return Recipe(
        **{
            "data": str(data),
            "model": model,
            "epochs": 2,
            "batch": 24,
            "lr": 0.01,
            "val": 0.2,
            "size": 16,
            **changes,
        }  # pyright: ignore[reportArgumentType]
    )
