"""How long own images take from files to tensors: a folder of JPEG, the same again, a long table.

Each figure is a process of its own. `folder` reads it for the first time and writes a copy into the
cache; `again` finds that copy. The peer decodes the same files by Pillow in as many
processes as there are cores, and keeps nothing. `table` lists the rows of a table whose files are
there (a hundred names of one folder of a thousand), and decodes none; its peer is pandas.read_csv
with Path.is_file for each row. Imports count everywhere; seconds without them stand beside.

Command: python bench/reading.py [--images 60000] [--rows 100000] [--side 32] [--turns 3]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from figures import machine_line, markdown, ratios, spread, wait_for_quiet
from PIL import Image

CLASSES, NAMES = 10, 1000  # NAMES: files of the folder that a table's rows name
TIMED = """
import os, sys, time
began = time.perf_counter()
{imports}
ready = time.perf_counter()
{work}
print(time.perf_counter() - began, time.perf_counter() - ready, sum(os.times()[:4]))
"""
PROGRAMS = {
    "folder": (
        "from convscope import data; import torch",
        "print(data.load({images!r}), file=sys.stderr)",
    ),
    "decoding by Pillow": (
        "import multiprocessing; import numpy as np\n"
        "from pathlib import Path; from PIL import Image",
        "def pixels(path):\n"
        "    with Image.open(path) as image:\n"
        "        return np.asarray(image.convert('RGB'))\n"
        "with multiprocessing.get_context('fork').Pool(os.cpu_count()) as pool:\n"
        "    paths = sorted(Path({images!r}).rglob('*.jpg'))\n"
        "    np.stack(pool.map(pixels, paths, chunksize=256))",
    ),
    "table": (
        "from convscope.data.listed import Options, list_file; from pathlib import Path",
        "list_file(Path({table!r}), Options())",
    ),
    "pandas and Path.is_file": (
        "import pandas; from pathlib import Path",
        "rows = pandas.read_csv({table!r})\n"
        "folder = Path({table!r}).parent\n"
        "assert all((folder / path).is_file() for path in rows['path'])",
    ),
}


def write_images(folder: Path, count: int, side: int) -> None:
    """JPEG files of smooth noise in a folder for each class."""
    draw = np.random.default_rng(0)
    for i in range(CLASSES):
        (folder / f"class{i}").mkdir(parents=True)
    for i in range(count):
        coarse = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((side, side))
        image.save(folder / f"class{i % CLASSES}" / f"{i:06d}.jpg", quality=90)


def write_table(folder: Path, rows: int) -> Path:
    """A table of path, label and patient."""
    (folder / "files").mkdir(parents=True)
    for n in range(NAMES):
        pixels = np.full((16, 16, 3), n % 256, np.uint8)
        Image.fromarray(pixels).save(folder / "files" / f"{n}.png")
    lines = ["path,label,patient"]
    for row in range(rows):
        i, n = divmod(row, NAMES)
        if n == 0:
            (folder / f"files{i}").symlink_to("files")
        lines.append(f"files{i}/{n}.png,{n % 7},{n % 991}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder / "table.csv"


def seconds_of(program: str, places: dict[str, str], cache: Path) -> tuple[float, float, float]:
    """Seconds of a process with its imports, without them, and of the processors."""
    wait_for_quiet()
    imports, work = PROGRAMS[program]
    code = TIMED.format(imports=imports, work=work.format(**places))
    environment = {**os.environ, "CONVSCOPE_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True
    )
    whole, work_alone, busy = map(float, done.stdout.split())
    return whole, work_alone, busy


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    print(machine_line())
    found: dict[str, list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as place:
        cache, images = Path(place, "cache"), Path(place, "images")
        write_images(images, given.images, given.side)
        places = {
            "images": str(images),
            "table": str(write_table(Path(place, "rows"), given.rows)),
        }
        for _ in range(given.turns):
            shutil.rmtree(cache, ignore_errors=True)
            steps = [("folder", "folder"), ("folder again", "folder")]
            for name, program in [*steps, *((name, name) for name in list(PROGRAMS)[1:])]:
                found.setdefault(name, []).append(seconds_of(program, places, cache))
    rows = [
        [name, *(spread([turn[i] for turn in turns]) for i in range(3))]
        for name, turns in found.items()
    ]
    heads = ("what", "seconds", "without imports", "of the processors")
    print(markdown(heads, rows))
    for name, peer in (("folder", "decoding by Pillow"), ("table", "pandas and Path.is_file")):
        walls = [[turn[0] for turn in found[one]] for one in (name, peer)]
        print(f"{name}: {spread(ratios(walls[0], walls[1]))} times the seconds of {peer}")


if __name__ == "__main__":
    main()
