"""What a run is: the content of its images, wherever they lie, and of a user's own code."""

from __future__ import annotations

import importlib.util
import linecache
import os
import py_compile
import shutil
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from refusing import refused

from convscope.models.sources import differences, sources_of, with_sources
from convscope.planning import Request
from convscope.recipe import ConvNet, Custom, Recipe, recipe_from_json, to_json
from convscope.studies.records import ids_of
from convscope.training import find_run, network, run_path, train
from convscope.training.run_paths import content_of

TINY = Recipe(model=ConvNet(2, 1), epochs=2, batch=20, val=0.0, size=None)


def write_images(path: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    y = np.arange(50) % 2
    x = (rng.integers(0, 60, (50, 6, 6, 1)) + 90 * y[:, None, None, None]).astype(np.uint8)
    path.parent.mkdir(exist_ok=True)
    np.savez(path, x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    return path


# --- images


@pytest.mark.usefixtures("session_cache")
def test_the_same_images_at_another_path_find_the_finished_run(tmp_path: Path) -> None:
    first = write_images(tmp_path / "here" / "d.npz")
    run = train(replace(TINY, data=str(first)), tmp_path / "runs")
    stamp = (run.path / "result.json").stat().st_mtime_ns
    (tmp_path / "there").mkdir()
    second = Path(shutil.move(first, tmp_path / "there" / "other.npz"))
    again = train(replace(TINY, data=str(second)), tmp_path / "runs")
    assert (again.id, again.rows) == (run.id, run.rows)
    assert (again.path / "result.json").stat().st_mtime_ns == stamp
    assert again.recipe.data == str(second) and again.recipe.id != run.id
    assert network(again).state_dict().keys()  # its images are where the recipe says
    asked = Request([again.recipe], "final")
    assert ids_of([asked], tmp_path / "runs") == {"final": [run.id]}
    assert find_run(again.recipe, tmp_path / "runs") == again
    assert find_run(replace(again.recipe, seed=1), tmp_path / "runs") is None
    assert find_run(again.recipe, tmp_path / "nowhere") is None


@pytest.mark.usefixtures("session_cache")
def test_other_images_at_the_same_path_are_another_run(tmp_path: Path) -> None:
    path = write_images(tmp_path / "here" / "d.npz")
    run = train(replace(TINY, data=str(path)), tmp_path / "runs")
    write_images(path, seed=1)
    other = train(replace(TINY, data=str(path)), tmp_path / "runs")
    assert other.id != run.id and other.rows[0]["train_loss"] != run.rows[0]["train_loss"]


@pytest.mark.usefixtures("session_cache")
def test_a_broken_off_run_goes_on_from_another_path(tmp_path: Path) -> None:
    first = write_images(tmp_path / "here" / "d.npz")
    copy = Path(shutil.copytree(first.parent, tmp_path / "there")) / first.name

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(replace(TINY, data=str(first)), tmp_path / "runs", log=stop)
    (begun,) = [path for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    epochs: list[object] = []
    run = train(
        replace(TINY, data=str(copy)),
        tmp_path / "runs",
        log=lambda row: epochs.append(row["epoch"]),
    )
    assert run.path == begun and epochs == [2]


def test_an_id_holds_what_it_held_and_content_leaves_the_name_out(tmp_path: Path) -> None:
    recipe = Recipe(data="a/b", data_hash="0" * 64)
    assert recipe.id == Recipe(data="a/b", data_hash="0" * 64).id != replace(recipe, data="c").id
    assert content_of(recipe) == content_of(replace(recipe, data="c"))
    assert content_of(recipe) != content_of(replace(recipe, data_hash="1" * 64))
    assert content_of(replace(recipe, data_hash="")) == ""
    assert run_path(recipe, tmp_path) == tmp_path / recipe.id
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "recipe.json").write_text("{")
    assert run_path(recipe, tmp_path) == tmp_path / recipe.id


# --- code


@pytest.fixture
def package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Path]:
    """A package whose factory imports a module of it, which imports one beside it."""
    name = f"code_{abs(hash(request.node.nodeid))}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "nets.py").write_text(
        "import math\nfrom torch import nn\nfrom .layers import WIDTH\n"
        "def build(in_shape, num_classes):\n"
        "    n = in_shape[0] * in_shape[1] * in_shape[2]\n"
        "    first = nn.Linear(n, WIDTH)\n"
        "    return nn.Sequential(nn.Flatten(), first, nn.Linear(WIDTH, num_classes))\n"
    )
    (folder / "layers.py").write_text(f"def late():\n    import beside_{name}\nWIDTH = 2\n")
    (folder / "unused.py").write_text("")
    (tmp_path / f"beside_{name}.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield folder
    for known in [key for key in sys.modules if key.startswith(name)]:
        del sys.modules[known]


def factory_of(package: Path) -> str:
    return f"{package.name}.nets:build"


def test_sources_are_the_factorys_file_and_what_it_imports_of_its_own(package: Path) -> None:
    sources = sources_of(factory_of(package))
    name = package.name
    files = [f"beside_{name}.py", f"{name}/__init__.py", f"{name}/layers.py", f"{name}/nets.py"]
    assert [source.partition(" ")[0] for source in sources] == files
    assert name not in sys.modules  # nothing was run
    (package / "unused.py").write_text("x = 1")
    (package / "nets.py").write_bytes((package / "nets.py").read_bytes().replace(b"\n", b"\r\n"))
    assert sources_of(factory_of(package)) == sources
    (package / "layers.py").write_text("WIDTH = 3\n")
    assert differences(sources, sources_of(factory_of(package))) == (
        f"{name}/layers.py changed, beside_{name}.py is gone"
    )


def test_modules_that_are_imported_by_name_are_sources(package: Path) -> None:
    def names() -> list[str]:
        return [source.partition(" ")[0] for source in sources_of(factory_of(package))]

    nets, name = package / "nets.py", package.name
    assert f"{name}/unused.py" not in names()
    plain = nets.read_text()
    nets.write_text(f"{plain}\nimport importlib\nimportlib.import_module('.unused', __package__)\n")
    assert f"{name}/unused.py" in names()
    (package / "more").mkdir()
    (package / "more" / "wide.py").write_text("")
    nets.write_text(f"{plain}\nfrom importlib import import_module as load\n")
    assert f"{name}/more/wide.py" not in names()
    nets.write_text(f"{plain}\nfor name in 'ab':\n    __import__(f'{name}.more.{{name}}')\n")
    assert {f"{name}/more/wide.py", f"{name}/unused.py"} <= set(names())


def test_sources_of_others() -> None:
    assert sources_of("convscope.recipes.strong:network") == ()
    assert sources_of("nowhere_at_all.nets:build") == ()
    (source,) = sources_of("numpy.linalg:norm")
    assert source == f"numpy {np.__version__}"
    plain = Recipe(model=Custom("convscope.recipes.strong:network"))
    assert with_sources(plain.model) == plain.model and "sources" not in to_json(plain)["model"]


def test_a_recipe_keeps_its_sources_and_refuses_others(package: Path) -> None:
    model = with_sources(Custom(factory_of(package)))
    recipe = Recipe(model=model)
    assert recipe_from_json(to_json(recipe)) == recipe
    assert recipe.id != Recipe(model=Custom(factory_of(package))).id
    assert "each is a file and its hash" in refused(lambda: Custom("a:b", sources=("x",)))


@pytest.mark.usefixtures("session_cache")
def test_changed_code_is_another_network(package: Path, tmp_path: Path) -> None:
    data = str(write_images(tmp_path / "images" / "d.npz"))
    recipe = replace(TINY, data=data, model=Custom(factory_of(package)))
    run = train(recipe, tmp_path / "runs")
    assert train(recipe, tmp_path / "runs").path == run.path
    layers = package / "layers.py"
    layers.write_text(layers.read_text().replace("WIDTH = 2", "WIDTH = 9"))
    os.utime(layers, (1e9, 1e9))  # a reload takes the second of the file for a sign of change
    # Python goes on with what it imported: the new code would get the old code's results
    message = refused(lambda: train(recipe, tmp_path / "runs"))
    assert "layers.py changed since this process imported it" in message
    # the finished run is that of the code as it was
    for call in (lambda: train(run.recipe, tmp_path / "runs"), lambda: network(run)):
        assert f"{package.name}/layers.py changed" in refused(call)
    for name in ("layers", "nets"):
        importlib.reload(sys.modules[f"{package.name}.{name}"])
    other = train(recipe, tmp_path / "runs")
    assert other.id != run.id and other.size["parameters"] == 36 * 9 + 9 + 9 * 2 + 2
    layers.write_text(layers.read_text().replace("WIDTH = 9", "WIDTH = 2"))
    for name in ("layers", "nets"):
        importlib.reload(sys.modules[f"{package.name}.{name}"])
    assert train(recipe, tmp_path / "runs").id == run.id  # back again


@pytest.mark.usefixtures("session_cache")
def test_code_that_changes_within_a_second_is_seen(package: Path, tmp_path: Path) -> None:
    """Its compiled file bears the same second, and the source the same length."""
    data = str(write_images(tmp_path / "images" / "d.npz"))
    recipe = replace(TINY, data=data, model=Custom(factory_of(package)))
    layers, second = package / "layers.py", 1_700_000_000
    os.utime(layers, (second, second))
    run = train(recipe, tmp_path / "runs")
    compiled = py_compile.compile(str(layers))  # written by now, unless Python is told not to
    assert compiled is not None
    os.utime(compiled, (second + 0.1, second + 0.1))
    layers.write_text(layers.read_text().replace("WIDTH = 2", "WIDTH = 9"))
    os.utime(layers, (second + 0.5, second + 0.5))
    for name in ("layers", "nets"):  # as a new process begins
        del sys.modules[f"{package.name}.{name}"]
    other = train(recipe, tmp_path / "runs")
    assert other.id != run.id and other.size["parameters"] == 36 * 9 + 9 + 9 * 2 + 2


def test_code_in_a_notebook_is_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    def cell(width: int, margin: str) -> None:
        text = (
            "class Net:\n    def __init__(self):\n        self.size = WIDTH\n"
            f"def build(in_shape, num_classes):\n    return Net(){margin}\n"
        )
        file = f"/ipykernel/{width}{len(margin)}.py"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        module.__dict__["WIDTH"] = width
        exec(compile(text, file, "exec"), module.__dict__)

    module = types.ModuleType("typed_here")
    monkeypatch.setitem(sys.modules, "typed_here", module)
    cell(2, "")
    first = sources_of("typed_here:build")
    assert {source.partition(" ")[0] for source in first} >= {
        "typed_here.WIDTH",
        "typed_here.build",
    }
    cell(2, "")
    assert sources_of("typed_here:build") == first
    cell(9, "")
    second = sources_of("typed_here:build")
    cell(9, "  # wider")
    assert len({first, second, sources_of("typed_here:build")}) == 3
