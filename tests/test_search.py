"""The search proposes what fits, repeats itself exactly and trains nothing twice.

It prunes its own trials only, and leaves a file that Optuna opens.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from convscope import data
from convscope.data.dataset import Dataset, Split
from convscope.errors import UserError
from convscope.models.building import build
from convscope.models.sizes import size_of
from convscope.planning import reference as plans
from convscope.planning.context import Context, Search
from convscope.planning.search import IMPORTANCE_TRIALS, Proposer, check_search
from convscope.planning.search_journal import JOURNAL, STUDY_NAME
from convscope.planning.search_space import RANGES, Ranges, space_of
from convscope.recipe.networks import ConvNet
from convscope.recipe.recipe import Recipe
from convscope.training.runs import Run

RUNGS = (1, 3, 9)


def images(shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10) -> Dataset:
    def split(count: int) -> Split:
        return Split(torch.zeros(count, *shape, dtype=torch.uint8), torch.arange(count) % classes)

    names = tuple(f"class {i}" for i in range(classes))
    return Dataset("made", split(90), split(10), split(20), names, "0" * 64, "made", "none", ())


def context_of(
    shape: tuple[int, int, int] = (3, 32, 32), folder: Path | None = None, **search: object
) -> Context:
    base = Recipe(data="made", data_hash="0" * 64, batch=8)
    return Context(
        images(shape), "quick", (0, 1), base, ("best",), folder=folder, search=Search(**search)
    )


def loss_of(recipe: Recipe) -> float:
    """A made-up landscape: batch normalisation, width and epochs help.

    A little depends on the whole recipe, so that no two are equal.
    """
    model = recipe.model
    assert isinstance(model, ConvNet)
    jitter = int(hashlib.sha256(replace(recipe, epochs=1).id.encode()).hexdigest()[:6], 16) / 16**6
    return (
        2.0
        - 0.4 * (model.norm == "batch")
        - 0.01 * model.width
        - 0.02 * recipe.epochs
        + 0.1 * jitter
    )


def made(recipe: Recipe, status: str = "finished", test: float = 0.0) -> Run:
    loss = loss_of(recipe)
    row = {"epoch": 1, "lr": 0.1, "seconds": 1.0}
    for name in recipe.evaluate:
        row |= {
            f"{name}_loss": loss + (test if name == "test" else 0.0),
            f"{name}_accuracy": 1 / (1 + loss),
            f"{name}_loss_sd": 1.0,
        }
    size = size_of(recipe.model, (3, 32, 32), 10)
    counts = {"filters": size.filters, "parameters": size.parameters, "flops": size.flops}
    return Run(Path("runs") / recipe.id, recipe, (row,), status, counts, float(recipe.epochs))


def drive(search: Proposer, run: Callable[[Recipe], Run] = made, count: int = 4) -> list[Recipe]:
    asked: list[Recipe] = []
    while batch := search.ask(count):
        assert len(batch) <= count
        asked += batch
        search.tell([run(recipe) for recipe in reversed(batch)])  # in any order
    return asked


def searched(
    trials: int = 14, rungs: Sequence[int] = RUNGS, seconds: float | None = None, **options: object
) -> tuple[Proposer, list[Recipe]]:
    search = Proposer(context_of(**options), trials, seconds, rungs)
    return search, drive(search)


# --- what is proposed


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_the_same_runs_give_the_same_proposals_and_none_twice(sampler: str) -> None:
    (search, first), (_, second) = searched(sampler=sampler), searched(sampler=sampler)
    assert first == second and len(set(first)) == len(first)
    strong = plans.reference_recipe(context_of())
    assert first[0] == replace(strong, epochs=1, evaluate=("val",))
    assert len(search.tried) == 14 and search.ended == "the trials were spent"
    assert all(
        recipe.evaluate == ("val",) and recipe.seed == 0 and recipe.optimizer == "muon"
        for recipe in first
    )
    assert {tried.state for tried in search.tried} == {"finished", "pruned"}


def test_samplers_and_seeds_propose_differently() -> None:
    asked = {sampler: searched(12, sampler=sampler)[1] for sampler in ("tpe", "random", "grid")}
    assert len({tuple(recipes) for recipes in asked.values()}) == 3
    other = Proposer(replace(context_of(), seeds=(5,)), 12, None, RUNGS)
    assert {replace(r, seed=0) for r in drive(other)} != set(asked["tpe"])


def test_tpe_learns_what_helps() -> None:
    share = {}
    for sampler in ("tpe", "random"):
        search, _ = searched(36, (1,), sampler=sampler)
        share[sampler] = sum(tried.recipe.model.norm == "batch" for tried in search.tried[16:])
    assert share["tpe"] > share["random"] + 4


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 8, 8), (1, 2, 3), (4, 5, 64)])
def test_proposals_fit_the_images(shape: tuple[int, int, int]) -> None:
    search = Proposer(context_of(shape, sampler="random"), 12, None, (1,))
    drive(search, lambda recipe: replace(made(replace(recipe, model=ConvNet(4, 1))), recipe=recipe))
    for tried in search.tried:
        net = build(tried.recipe.model, shape, 10)
        assert net(torch.zeros(2, *shape)).shape == (2, 10)
        assert tried.recipe == search.space.recipe(search.space.params(tried.recipe))


def test_images_without_room_are_refused() -> None:
    with pytest.raises(UserError, match="images of 1×9 pixels"):
        Proposer(context_of((1, 1, 9)), 4, None, (1,))


def test_what_has_no_effect_does_not_make_another_configuration() -> None:
    space = space_of(context_of())
    known = space.params(space.reference) | {"depth": 1, "block_depth": 1}
    same = {
        space.recipe(known | {"growth": growth, "skip": skip})
        for growth in (1.0, 1.5, 2.0)
        for skip in (False, True)
    }
    assert len(same) == 1


def test_a_small_space_is_exhausted_without_repeating(monkeypatch: pytest.MonkeyPatch) -> None:
    strong = plans.reference_recipe(context_of())
    width, rate = strong.model.width, strong.lr  # the strong recipe's, which a space always holds
    tiny = Ranges(
        (width, width),
        3,
        2,
        3,
        0,
        10**9,
        1e12,
        ("relu",),
        ("max",),
        ("batch",),
        (2.0, 2.0),
        (rate, rate),
        (1e-2, 1e-2),
    )
    monkeypatch.setitem(RANGES, "quick", tiny)
    search, asked = searched(500, (1,), sampler="random")
    assert len(set(asked)) == len(asked) and search.duplicates >= 50
    assert search.ended == "50 proposals in turn were known"
    # depth 1 to 3, one or two convolutions a block (the latter with skip or without), two heads,
    # flips or none, shifts up to the reference recipe's
    assert len(asked) <= 3 * 3 * 2 * 2 * (1 + strong.crop)


# --- rungs and pruning


def test_pruning_keeps_the_better_ones_and_says_at_which_rung() -> None:
    search, asked = searched(45, sampler="random")
    rungs = {epochs: [r for r in asked if r.epochs == epochs] for epochs in RUNGS}
    assert len(rungs[1]) == 45 and 45 > len(rungs[3]) > len(rungs[9]) > 0
    for tried in search.tried:
        assert [run.recipe.epochs for run in tried.runs] == list(RUNGS[: len(tried.runs)])
        assert (tried.state == "finished") == (len(tried.runs) == 3)
        assert all(
            replace(run.recipe, epochs=5) == replace(tried.recipe, epochs=5, evaluate=("val",))
            for run in tried.runs
        )
    first = {True: [], False: []}
    for tried in search.tried:
        first[tried.state == "pruned" and len(tried.runs) == 1].append(
            tried.runs[0].best["val_loss"]
        )
    assert sum(first[False]) / len(first[False]) < sum(first[True]) / len(first[True])
    ranked = search.ranked()
    assert [t.runs[-1].recipe.epochs for t in ranked] == sorted(
        (t.runs[-1].recipe.epochs for t in ranked), reverse=True
    )
    top = [t.loss for t in ranked if t.state == "finished"]
    assert top == sorted(top)


def test_one_rung_prunes_nothing() -> None:
    search, asked = searched(10, (2,))
    assert len(asked) == 10 and {t.state for t in search.tried} == {"finished"}


# --- faults and budgets


def test_failures_go_on_and_missing_runs_are_untrained() -> None:
    turns = iter(["finished", "diverged", "out_of_memory", "failed"] * 100)
    search = Proposer(context_of(sampler="random"), 12, None, RUNGS)
    drive(search, lambda recipe: made(recipe, next(turns)))
    states = {tried.state for tried in search.tried}
    assert "failed" in states and len(search.tried) == 12
    assert {t.reason for t in search.tried if t.state == "failed"} <= {
        "diverged",
        "out_of_memory",
        "failed",
    }
    search = Proposer(context_of(), 12, None, RUNGS)
    assert search.ask(4)
    search.tell([])
    assert [t.state for t in search.tried] == ["untrained"] * 4 and search.ranked() == []


def test_a_search_in_which_nothing_finishes_ends() -> None:
    search = Proposer(context_of(), None, 1e9, RUNGS)
    asked = drive(search, lambda recipe: made(recipe, "diverged"))
    assert len(asked) == 20 and search.ended == "no run finished in 5 batches"


def test_time_is_that_of_the_runs_over_the_workers() -> None:
    one = Proposer(context_of(), None, 60.0, RUNGS)
    drive(one)
    two = Proposer(replace(context_of(), workers=2), None, 60.0, RUNGS)
    drive(two)
    assert one.ended == two.ended == "the time was spent" and two.spent >= 120 > one.spent >= 60
    assert not {"promoted", "running"} & {tried.state for tried in one.tried + two.tried}
    assert all(trial.state.is_finished() for trial in one.study.trials)


def test_runs_of_an_older_search_are_kept() -> None:
    _, asked = searched(8)
    search = Proposer(replace(context_of(sampler="random"), live=False), 8, None, RUNGS)
    search.ask(4)
    search.tell([made(recipe) for recipe in asked])
    assert {t.recipe for t in search.tried if t.runs} == {
        replace(r, epochs=search.space.reference.epochs, evaluate=("train", "val", "test"))
        for r in asked
    }
    assert search.ranked()


@pytest.mark.parametrize(
    ("search", "words"),
    [
        (Search("tep"), "sampler 'tep'; did you mean 'tpe'?"),
        (Search("x\ny"), r"ny'; known: tpe, random, grid"),
        (Search(trials=0), "trials = 0: a whole number from 1 to 100,000"),
        (Search(trials=100_001), "trials = 100001"),
        (Search(trials=True), "trials = True"),
        (Search(minutes=0), "minutes = 0: a number above 0"),
        (Search(minutes=float("nan")), "minutes = nan"),
        (Search(minutes=float("inf")), "minutes = inf"),
    ],
)
def test_wrong_searches_are_refused(search: Search, words: str) -> None:
    with pytest.raises(UserError) as error:
        check_search(search)
    assert words in str(error.value) and "\n" not in str(error.value)
    check_search(Search("grid", 5, 0.5))


# --- the file


def test_the_file_holds_every_trial_in_order(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(b"\x00 not a journal")
    (tmp_path / f"{JOURNAL}.lock").symlink_to(tmp_path / JOURNAL)
    search, _ = searched(20, folder=tmp_path)
    study = optuna.load_study(
        study_name=STUDY_NAME, storage=JournalStorage(JournalFileBackend(str(tmp_path / JOURNAL)))
    )
    assert len(study.trials) == len(search.study.trials) >= 20 and not search.journal.problem
    for ours, theirs in zip(search.study.trials, study.trials, strict=True):
        assert (ours.number, ours.params, ours.state, ours.values, ours.intermediate_values) == (
            theirs.number,
            theirs.params,
            theirs.state,
            theirs.values,
            theirs.intermediate_values,
        )
    told = {trial.number: trial for trial in study.trials}
    for tried in search.tried:
        assert told[tried.number].user_attrs["network"] and list(
            told[tried.number].intermediate_values.values()
        ) == [run.best["val_loss"] for run in tried.runs]


def test_an_old_report_writes_no_file(tmp_path: Path) -> None:
    drive(Proposer(replace(context_of(folder=tmp_path), live=False), 4, None, (1,)))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="a folder in the file's place")
def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).mkdir()
    search, asked = searched(6, (1,), folder=tmp_path)
    assert len(asked) == 6 and search.journal.problem
    gone = Proposer(context_of(folder=tmp_path / "none"), 6, None, (1,))
    assert len(drive(gone)) == 6 and gone.journal.problem


def test_optuna_is_silent_and_left_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    searched(6)[0].importance()
    assert optuna.logging.get_verbosity() == logging.INFO
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


# --- importance


def test_importance_needs_trials_and_finds_what_matters() -> None:
    assert searched(IMPORTANCE_TRIALS - 1, (1,), sampler="random")[0].importance() is None
    shares = searched(60, (1,), sampler="random")[0].importance()
    assert shares is not None and abs(sum(shares.values()) - 1) < 1e-9
    assert max(shares, key=lambda name: shares[name]) in ("norm", "width")
    assert all(type(share) is float and share >= 0 for share in shares.values())
    search = Proposer(context_of(sampler="random"), 30, None, (1,))
    drive(
        search, lambda recipe: replace(made(recipe), rows=({"epoch": 1, "val_loss": 1.0},))
    )  # nothing sets them apart
    assert search.importance() is None or abs(sum(search.importance().values()) - 1) < 1e-9


def test_the_help_does_not_import_optuna() -> None:
    import subprocess
    import sys

    code = (
        "import sys, convscope.planning.search, convscope.cli; assert 'optuna' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_cifar_proposal_has_the_study_s_data(session_cache: Path) -> None:
    loaded = data.load("cifar10")
    base = Recipe(data="cifar10", data_hash=loaded.hash, batch=64)
    context = Context(loaded, "quick", (0, 1), base, ("best",))
    (first, *_) = Proposer(context, 4, None, (1, 3)).ask(4)
    assert (
        first.data_hash == loaded.hash
        and first.limit is None
        and first.batch == plans.reference_recipe(context).batch
    )
