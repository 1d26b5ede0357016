"""What the tests share: real images, one finished study, the command line in this process."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: two test processes share two cores

import contextlib
import functools
import hashlib
import importlib.util
import io
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import studying
import torch
from filelock import FileLock
from PIL import Image

from convscope import data
from convscope.training.runs import Run

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's job in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # processes of the tests inherit it
hypothesis.settings.register_profile("convscope", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.load_profile("convscope")


# What takes longest begins first: otherwise one of two processes ends long after the other.
LONGEST = (
    *("engines", "ray", "golden", "study_faults", "examples", "chapters", "deaths", "shards"),
    *("exporting", "export_family", "own_sweeps", "nonlinearity", "tracker_files", "twins"),
    *("gpu", "study_again", "wandb", "slurm"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {f"test_{name}": i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))
    for item in items:  # before those that are slow are deselected
        if "_whole_study" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each process begins with its half of the tests; the one that is ready first takes more."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Measuring a machine, as the command line does, leaves another number of threads behind."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _nothing_remembered(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[None]:
    """No test finds what another measured of this machine, nor leaves what it made up."""
    file = f"{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]}.json"
    place = tmp_path_factory.getbasetemp() / "machine" / file
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convscope.machine.remembering.place", lambda: place)
        yield


def _shared(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A file or folder that one process of the test session makes, and that all of them use."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with FileLock(root / f"{name}.lock"):
        if not (root / name).exists():
            part = root / f"part-{name}"
            make(part)
            part.rename(root / name)
    return root / name


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own."""
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for the data sets that tests make, so that they don't stay in the user's.

    The known ones there are linked into it.
    """
    try:
        known = data.fetch("cifar10").parent
    except data.DataUnavailable as error:
        pytest.skip(str(error))

    def make(folder: Path) -> None:
        (folder / "datasets").mkdir(parents=True)
        for entry in known.glob("[!.]*.v*"):
            (folder / "datasets" / entry.name).symlink_to(entry)

    folder = _shared(tmp_path_factory, "cache", make)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVSCOPE_CACHE", str(folder))
        yield folder


def _stratified(split: data.Split, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` images of each class, in their order: N×H×W×C and labels."""
    rows = (
        torch.cat([(split.labels == label).nonzero().flatten()[:count] for label in range(10)])
        .sort()
        .values
    )
    return split.images[rows].permute(0, 2, 3, 1).contiguous().numpy(), split.labels[rows].numpy()


@pytest.fixture(scope="session")
def cifar_slice(session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,200 training and 400 test images of CIFAR-10, the classes alike, as .npz."""

    def make(path: Path) -> None:
        whole = data.load("cifar10", val=0)
        (x, y), (x_test, y_test) = _stratified(whole.train, 120), _stratified(whole.test, 40)
        np.savez(
            path,
            x_train=x,
            y_train=y,
            x_test=x_test,
            y_test=y_test,
            classes=np.array(whole.classes),
        )

    return _shared(tmp_path_factory, "cifar-slice.npz", make)


@pytest.fixture(scope="session")
def small_images(cifar_slice: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every second image of the slice, its middle 16×16 pixels: what whole studies are about."""

    def make(path: Path) -> None:
        with np.load(cifar_slice) as file:
            arrays = dict(file)
        for name in ("x_train", "x_test"):
            arrays[name] = arrays[name][::2, 8:24, 8:24]
        for name in ("y_train", "y_test"):
            arrays[name] = arrays[name][::2]
        np.savez(path, **arrays)

    return _shared(tmp_path_factory, "small-images.npz", make)


@pytest.fixture(scope="session")
def micro(cifar_slice: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The middle 8×8 pixels of 100 training and 20 test images: a run on it takes a blink."""

    def make(path: Path) -> None:
        with np.load(cifar_slice) as file:
            x, y, x_test, y_test = (
                file[name] for name in ("x_train", "y_train", "x_test", "y_test")
            )
        np.savez(
            path,
            x_train=x[:100, 12:20, 12:20],
            y_train=y[:100],
            x_test=x_test[:20, 12:20, 12:20],
            y_test=y_test[:20],
        )

    return _shared(tmp_path_factory, "micro.npz", make)


@pytest.fixture(scope="session")
def class_folder(cifar_slice: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty PNG images of each of three classes, in folders."""

    def make(folder: Path) -> None:
        with np.load(cifar_slice) as file:
            images, labels, classes = file["x_train"], file["y_train"], file["classes"]
        for label in (3, 5, 8):
            (folder / classes[label]).mkdir(parents=True)
            for i, image in enumerate(images[labels == label][:30]):
                Image.fromarray(image).save(folder / classes[label] / f"{i:02d}.png")

    return _shared(tmp_path_factory, "class-folder", make)


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Ray cluster of two nodes on this machine; a test that kills a node adds another one."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    from clustering import cluster

    with cluster(tmp_path_factory.mktemp("ray"), nodes=2) as made:
        yield made


@pytest.fixture(scope="session")
def ray_engine(ray_cluster: Any) -> Iterator[Any]:
    """An engine with a slot on each node of that cluster."""
    import engine_jobs
    import own_modules

    from convscope.engines.ray_engine import RayEngine

    code = [str(module.__file__) for module in (engine_jobs, own_modules)]
    with RayEngine(2, address=ray_cluster.address, code=code) as made:
        yield made


@pytest.fixture(scope="session", autouse=True)
def _drawn_once() -> Iterator[None]:
    with studying.drawn_once():
        yield


@pytest.fixture
def tiny_preset() -> Iterator[None]:
    with studying.tiny():
        yield


@pytest.fixture
def kept() -> Iterator[None]:
    with studying.kept():
        yield


@pytest.fixture
def small_nonlinearity(monkeypatch: pytest.MonkeyPatch) -> None:
    import made

    made.small_nonlinearity(monkeypatch)


@pytest.fixture
def few_draws() -> Iterator[None]:
    with studying.few_draws():
        yield


@pytest.fixture
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure speeds in one short window each: for tests that don't ask which way is fastest."""
    monkeypatch.setattr("convscope.machine.measurement.ROUNDS", 1)
    monkeypatch.setattr("convscope.machine.measurement.WINDOW", 0.001)


@pytest.fixture(scope="session")
def _study_once(small_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from convscope.studies.main_path import study

    def make(folder: Path) -> None:
        with studying.tiny():
            study(small_images, ["capacity"], out=folder, workers=2)

    return _shared(tmp_path_factory, "study", make)


@pytest.fixture(scope="session")
def _whole_study(small_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All six chapters on small images with tiny presets; not to be changed. Its tests are slow."""
    from convscope.studies.main_path import study

    def make(folder: Path) -> None:
        with studying.tiny():
            study(small_images, out=folder, workers=2)

    return _shared(tmp_path_factory, "whole-study", make)


@pytest.fixture(scope="session")
def _two_chapters(small_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two chapters that train least, in a budget that is large enough; not to be changed."""
    from convscope.studies.main_path import study

    def make(folder: Path) -> None:
        with studying.tiny(), studying.no_overhead():
            study(small_images, studying.TWO, out=folder, workers=2, budget="600s")

    return _shared(tmp_path_factory, "two-chapters", make)


@pytest.fixture
def finished_study(_study_once: Path, tmp_path: Path) -> Path:
    """A copy, the test's own, of a study that was trained on small images with the tiny preset."""
    return Path(shutil.copytree(_study_once, tmp_path / "study"))


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Answer]]:
    """cli("train", path, …) calls the command line in this process."""
    import convscope.cli

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*arguments: object) -> Answer:
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "argv", ["convscope", *map(str, arguments)])
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as end,
        ):
            convscope.cli.main()
        assert isinstance(end.value.code, int)
        return Answer(end.value.code, out.getvalue(), err.getvalue())

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """`made.run_by_epoch` in a folder of the test's own."""
    import made

    return functools.partial(made.run_by_epoch, tmp_path)


@pytest.fixture(scope="module")  # no longer: Playwright's event loop runs as long
def browser() -> Iterator[Any]:
    import browsing

    with browsing.chromium() as browser:
        yield browser


@pytest.fixture
def show(browser: Any) -> Iterator[Callable[[Path], Any]]:
    """Open a page, and wait until its charts are drawn or have failed."""
    import browsing

    with browsing.pages(browser) as show:
        yield show


@pytest.fixture(scope="session")
def explored(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """The made-up runs of `explored_page`; their folders stay empty."""
    import exploring

    return exploring.networks(tmp_path_factory.mktemp("explored"))


@pytest.fixture(scope="session")
def explored_page(explored: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    import exploring

    return _shared(tmp_path_factory, "explored.html", lambda path: exploring.write(path, explored))


@pytest.fixture
def opened(explored_page: Path, show: Callable[[Path], Any]) -> Any:
    """The explorer and the playground in a real browser, as they are at first."""
    return show(explored_page)


@pytest.fixture(scope="session")
def drawings() -> Any:
    return studying.KeptDrawings()


@pytest.fixture
def study_of(tmp_path: Path, make_run: Callable[..., Run], drawings: Any) -> Callable[..., Path]:
    """A report on data that were made up, from the further arguments of `reporting.write`."""
    import reporting

    return functools.partial(reporting.write, tmp_path, make_run, drawings)
