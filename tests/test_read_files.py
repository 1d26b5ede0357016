"""Files of weights and settings that a user's factory reads are part of what its runs are."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from refusing import refused
from test_run_identity import TINY, write_images

from convscope.models import build
from convscope.models.sources import sources_of, with_sources
from convscope.recipe import Custom
from convscope.training import train

NETS = """
import json
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent
BEST = HERE / "best.json"


def net(in_shape, num_classes, width):
    size = in_shape[0] * in_shape[1] * in_shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(size, width), nn.Linear(width, num_classes))


def build(in_shape, num_classes):
    \"\"\"See notes.txt.\"\"\"
    with open(HERE / "conf" / "net.json") as file:
        return net(in_shape, num_classes, json.load(file)["width"])


def named(in_shape, num_classes, config="net", folder="conf"):
    return net(in_shape, num_classes, json.loads((HERE / folder / config).read_text())["width"])


def made(in_shape, num_classes, kind="net"):
    text = (HERE / "conf" / f"{kind}.json").read_text()
    return net(in_shape, num_classes, json.loads(text)["width"])


def main():
    torch.save(build((1, 8, 8), 2), HERE / "last.pt")
    json.dump({}, open(HERE / "log.json", "w"))
    return json.load(open(BEST))


if __name__ == "__main__":
    open("more.json")
    main()
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module beside files, imported anew; its name differs from test to test."""
    name = f"reads_{abs(hash(str(tmp_path)))}"
    folder = tmp_path / "own"
    (folder / "conf").mkdir(parents=True)
    (folder / f"{name}.py").write_text(NETS)
    (folder / "conf" / "net.json").write_text('{"width": 3}')
    for other in ("best.json", "last.pt", "log.json", "more.json", "notes.txt", "conf/wide.json"):
        (folder / other).write_text('{"width": 5}')
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    yield folder / f"{name}.py"
    sys.modules.pop(name, None)


def names(factory: str, arguments: dict[str, object] | None = None) -> list[str]:
    return [entry.rpartition(" ")[0] for entry in sources_of(factory, arguments)]


def test_files_that_the_factory_names_are_sources_and_no_others(nets: Path) -> None:
    own = f"{nets.stem}.py"
    assert names(f"{nets.stem}:build") == ["conf/net.json", own]
    assert names(f"{nets.stem}:net") == [own]
    assert names(f"{nets.stem}:named", {"config": "wide.json"}) == ["conf/wide.json", own]
    assert names(f"{nets.stem}:named", {"config": ["conf/net.json"]}) == ["conf/net.json", own]
    assert names(f"{nets.stem}:main") == ["best.json", "conf/net.json", own]
    assert nets.stem not in sys.modules  # nothing was run


def test_a_file_that_is_read_on_import_and_one_above_a_package(nets: Path) -> None:
    package = nets.parent / f"pack_{nets.stem}"
    package.mkdir()
    (package / "__init__.py").write_text("from .core import build\n")
    (package / "core.py").write_text(
        "import os\n\nwith open(os.path.join(os.path.dirname(__file__), '..', 'more.json')) as f:\n"
        "    TEXT = f.read()\n\ndef build(in_shape, num_classes):\n    return TEXT\n"
    )
    found = names(f"{package.name}:build")
    assert found == ["more.json", f"{package.name}/__init__.py", f"{package.name}/core.py"]
    outside = nets.parent.parent / "far.json"
    outside.write_text("{}")
    (package / "core.py").write_text(f"def build(a, b):\n    return open({str(outside)!r})\n")
    assert "far.json" not in "".join(names(f"{package.name}:build"))


@pytest.mark.usefixtures("session_cache")
def test_another_content_is_another_network(nets: Path, tmp_path: Path) -> None:
    data = str(write_images(tmp_path / "images" / "d.npz"))
    recipe = replace(TINY, data=data, model=Custom(f"{nets.stem}:build"))
    first = train(recipe, tmp_path / "runs")
    assert train(recipe, tmp_path / "runs").path == first.path
    (nets.parent / "conf" / "net.json").write_text('{"width": 7}')
    second = train(recipe, tmp_path / "runs")
    assert second.id != first.id and second.size["parameters"] == 36 * 7 + 7 + 7 * 2 + 2
    assert "conf/net.json changed" in refused(lambda: train(first.recipe, tmp_path / "runs"))
    old = with_sources(Custom(f"{nets.stem}:build"))
    assert isinstance(old, Custom)
    old = replace(old, sources=tuple(one for one in old.sources if "json" not in one))
    assert build(old, (1, 6, 6), 2)  # a recipe of a version that did not name such files


def test_a_file_that_is_not_named_is_said_once(
    nets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "convscope"):
        for _ in range(2):
            build(Custom(f"{nets.stem}:build"), (1, 6, 6), 2)
        assert not caplog.messages
        hidden = nets.parent / "conf" / ".cache.json"
        hidden.write_text('{"width": 3}')
        build(Custom(f"{nets.stem}:made", {"kind": ".cache"}), (1, 6, 6), 2)
        assert not caplog.messages
        for _ in range(2):
            build(Custom(f"{nets.stem}:made"), (1, 6, 6), 2)
    (said,) = caplog.messages
    assert "it reads net.json, whose content is not part of the run's id" in said


def test_a_file_that_changes_after_the_import_that_read_it(nets: Path) -> None:
    read = 'WIDTH = json.loads((HERE / "conf" / "net.json").read_text())["width"]'
    nets.write_text(f"{NETS}\n\n{read}\n\n\ndef once(a, b):\n    return net(a, b, WIDTH)\n")
    model = Custom(f"{nets.stem}:once")
    build(model, (1, 6, 6), 2)
    (nets.parent / "conf" / "net.json").write_text(json.dumps({"width": 9}))
    message = refused(lambda: build(model, (1, 6, 6), 2))
    assert "net.json changed since this process imported it" in message
    importlib.reload(sys.modules[nets.stem])
    assert next(build(model, (1, 6, 6), 2).parameters()).shape[0] == 9
