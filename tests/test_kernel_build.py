"""How kernels are built and loaded: a private folder, whole files, else the library."""

from __future__ import annotations

import ctypes
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import convscope as cs
from convscope.cli.options import restrict_kernels
from convscope.errors import UserError
from convscope.fast import (
    are_threaded,
    compiler,
    description_of,
    kernel_folder,
    openmp,
    shared_library,
    why_not,
)
from convscope.fast.kernel_folder import KEPT, Build
from convscope.machine import measurement
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.training import acceleration
from convscope.training.acceleration import why_no_kernels
from convscope.training.checks import is_out_of_memory
from convscope.training.evaluation import predict
from convscope.training.metrics import metrics_of
from convscope.training.resident_data import resident
from convscope.training.trained import network

HALF = torch.bfloat16
missing = why_not(HALF)
needs_compiler = pytest.mark.skipif(bool(missing), reason=f"no compiled kernels: {missing}")


def forget() -> None:
    for function in ("load", "kernels_for", "are_available", "has_winograd"):
        getattr(shared_library, function).cache_clear()
    compiler.version_of.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for kernels of its own, not made yet, and nothing loaded."""
    monkeypatch.setenv("CONVSCOPE_KERNELS_FOLDER", str(tmp_path / "kernels"))
    forget()
    yield tmp_path / "kernels"
    forget()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile without optimisation, which takes a tenth of the time."""
    monkeypatch.setattr(compiler, "FLAGS", ("-O0", *compiler.FLAGS[1:]))


# --- without a compiler


@pytest.mark.usefixtures("short_windows")
@pytest.mark.parametrize("path", ["", pytest.param("/nowhere", marks=pytest.mark.slow)])
def test_without_a_compiler_the_library_is_chosen_and_the_reason_said(
    path: str, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cifar_slice: Path
) -> None:
    monkeypatch.setenv("PATH", path)
    monkeypatch.delenv("CC", raising=False)
    best = measurement.best_numerics("cpu")
    reason = "no C compiler (cc, gcc or clang) on the path"
    assert (best.kernels, best.why_not) == ("library", reason)
    said = r"kernels = compiled: no C compiler .*; kernels = library needs nothing"
    with pytest.raises(UserError, match=said):
        cs.train(Recipe(data=str(cifar_slice), epochs=1, kernels="compiled"), tmp_path)


@needs_compiler
def test_a_finished_run_is_read_where_there_is_no_compiler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cifar_slice: Path
) -> None:
    recipe = Recipe(data=str(cifar_slice), model=ConvNet(2, 1), epochs=1, kernels="compiled")
    run = cs.train(recipe, tmp_path)
    written = json.loads((run.path / "environment.json").read_text())["kernels"]
    assert written == json.loads(
        json.dumps(description_of(HALF if recipe.precision == "bfloat16" else torch.float32))
    )
    assert len(written["sha256"]) == 64 and written["compiler"] and written["version"]
    monkeypatch.setenv("CONVSCOPE_KERNELS", "library")
    assert cs.train(recipe, tmp_path).rows == run.rows
    tensors = resident(run.recipe)  # and its network predicts, by the library
    metrics = metrics_of(predict(network(run), tensors, "val", run.recipe), tensors.labels["val"])
    assert metrics.loss == pytest.approx(run.best["val_loss"], rel=1e-4)
    with pytest.raises(UserError, match="switched off by CONVSCOPE_KERNELS = library"):
        cs.train(replace(recipe, seed=1), tmp_path)


@pytest.mark.usefixtures("short_windows")
def test_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSCOPE_KERNELS", "")
    assert not why_no_kernels("float32", "library")
    restrict_kernels("library")
    assert os.environ["CONVSCOPE_KERNELS"] == "library"
    assert "switched off" in why_no_kernels("float32") and not why_no_kernels("float32", "library")
    assert acceleration.build_kernels_ahead() is None
    best = measurement.best_numerics("cpu")
    assert best.kernels == "library" and "switched off" in best.why_not
    monkeypatch.setenv("CONVSCOPE_KERNELS", "libary")
    with pytest.raises(UserError, match="libary"):
        why_no_kernels("float32")


@needs_compiler
def test_a_compiler_that_fails_is_quoted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "broken-cc"
    program.write_text("#!/bin/sh\necho 'internal error 17' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("CC", str(program))
    assert "internal error 17" in why_not(HALF)
    assert list(folder.iterdir()) == []


# --- the folder


@needs_compiler
@pytest.mark.usefixtures("quick")
@pytest.mark.slow
def test_the_folder_is_private_and_its_files_are_whole(folder: Path) -> None:
    path, build = compiler.built(HALF)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    changed = path.stat().st_mtime_ns
    assert compiler.built(HALF) == (path, build) and path.stat().st_mtime_ns == changed
    path.write_bytes(path.read_bytes()[:1000])  # torn: built anew
    again, _ = compiler.built(HALF)
    assert why_not(HALF) == "" and again.stat().st_size > 1000
    (record,) = folder.glob("*.json")
    record.write_text("{")
    assert compiler.built(HALF)[1].flags == build.flags
    assert sorted(p.suffix for p in folder.iterdir()) == [".json", ".so"]  # nothing else is left


@needs_compiler
@pytest.mark.usefixtures("quick")
def test_nothing_is_loaded_that_others_may_write(folder: Path) -> None:
    path, _ = compiler.built(HALF)
    path.chmod(0o722)
    assert f"others may write to {path}" in why_not(HALF)
    path.chmod(0o600)
    folder.chmod(0o777)
    assert f"others may write to {folder}" in why_not(HALF)
    folder.chmod(0o700)
    assert why_not(HALF) == ""


@needs_compiler
def test_nothing_is_loaded_that_another_user_owns(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert why_not(HALF) == f"{folder} belongs to another user"


@needs_compiler
def test_a_folder_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONVSCOPE_KERNELS_FOLDER", str(tmp_path / "file" / "kernels"))
    assert "the folder for kernels cannot be used" in why_not(HALF)


def test_the_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CONVSCOPE_KERNELS_FOLDER", raising=False)
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path))  # which a group may share
    assert tmp_path not in kernel_folder.kernel_folder().parents


def test_old_builds_are_removed_but_none_in_use(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    held = []
    for i in range(KEPT + 3):
        library = folder / f"{i:064}.so"
        library.write_bytes(b"")
        (folder / f"{i}.json").write_text(json.dumps(vars(Build(f"{i:064}", "cc", "", ()))))
        if i == 0:
            held.append(kernel_folder.hold(library))
        os.utime(library, (i, i))
    kernel_folder.remove_old(folder)
    left = sorted(int(path.stem) for path in folder.glob("*.so"))
    assert left == [0, *range(3, KEPT + 3)]
    assert sorted(int(path.stem) for path in folder.glob("*.json")) == left
    os.close(held[0])


# --- what is compiled and loaded


def test_the_key_is_of_everything_a_build_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    key = compiler.key_of("cc", "cc 1", HALF)
    assert key == compiler.key_of("cc", "cc 1", HALF)
    keys = {key, compiler.key_of("gcc", "cc 1", HALF), compiler.key_of("cc", "cc 2", HALF)}
    keys.add(compiler.key_of("cc", "cc 1", torch.float32))
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "flags_of_processor", lambda: "another")
        keys.add(compiler.key_of("cc", "cc 1", HALF))
    monkeypatch.setattr(compiler, "ABI", compiler.ABI + 1)
    keys.add(compiler.key_of("cc", "cc 1", HALF))
    assert len(keys) == 6


def test_every_source_is_listed_and_a_stray_file_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listed = {*compiler.HEADERS, *compiler.SOURCES}
    assert listed == {path.name for path in compiler.NATIVE.glob("*.[ch]")}
    key = compiler.key_of("cc", "", HALF)
    for name in listed:
        (tmp_path / name).write_bytes((compiler.NATIVE / name).read_bytes())
    (tmp_path / "stray.c").write_bytes(b"\xff not C")
    monkeypatch.setattr(compiler, "NATIVE", tmp_path)
    assert compiler.key_of("cc", "", HALF) == key


@needs_compiler
@pytest.mark.usefixtures("quick")
@pytest.mark.slow
def test_a_library_without_a_function_is_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_library, "SIGNATURES", {"no_such_function": "P"})
    assert "no_such_function" in why_not(HALF)


@needs_compiler
def test_a_file_that_is_no_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder.parent / "text-cc"  # writes text in the place of a library
    program.write_text(
        '#!/bin/sh\nwhile [ $# -gt 0 ]; do [ "$1" = -o ] && echo text > "$2"; shift; done\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("CC", str(program))
    assert why_not(HALF).startswith("loading failed")


@needs_compiler
def test_out_of_memory_is_an_exception_that_is_recognised() -> None:
    lib, huge = shared_library.kernels_for(torch.float32), 1 << 44
    weight, bias = torch.zeros(2, 3, 3, 3), torch.zeros(2)
    calls = (
        lambda: lib.first_block_back(None, None, None, None, None, 1, 2, 2, 3, huge, 1),
        lambda: lib.first_block(
            None, weight.data_ptr(), bias.data_ptr(), None, None, 1, 2, huge, 3, 2, 1
        ),
    )
    for call in calls:
        with pytest.raises(torch.OutOfMemoryError) as caught:
            call()
        assert is_out_of_memory(caught.value)


# --- threads


def test_the_openmp_library_is_the_one_that_follows_torch() -> None:
    class Other:
        @staticmethod
        def omp_get_max_threads() -> int:
            return 1

    before = torch.get_num_threads()
    assert not openmp.follows_torch(Other())
    if (found := openmp.torchs_openmp()) is not None:
        assert openmp.follows_torch(found) and isinstance(found, ctypes.CDLL)
    assert torch.get_num_threads() == before and are_threaded() == (found is not None)


@pytest.mark.parametrize(("alone", "threads", "compared"), [(False, 3, 1), (True, 3, 3)])
def test_kernels_of_one_thread_are_compared_at_the_threads_of_the_runs(
    monkeypatch: pytest.MonkeyPatch, alone: bool, threads: int, compared: int
) -> None:
    seen: list[int] = []

    def windows(_device: str, ways: list[tuple[object, int]], _model: object) -> list[list[float]]:
        seen.extend(count for _, count in ways)
        return [[float(len(ways) - i)] for i, _ in enumerate(ways)]

    monkeypatch.setattr(measurement, "windows", windows)
    monkeypatch.setattr(measurement, "kernels_have_one_thread", lambda: alone)
    measurement.best_numerics("cpu", threads)
    assert set(seen) == {compared}
