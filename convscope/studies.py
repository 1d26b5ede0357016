"""A study: plans the chapters' recipes, has them trained, collects the findings, and writes the report.

A study lives in one folder: study.json (what was asked, and what was measured and resolved once), runs/ID/…, report.html, results.json,
results.csv, charts/. Nothing in it is ever trained twice: the same command goes on where it stopped.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from convscope import data as datasets
from convscope import device as devices
from convscope import kernels
from convscope.budgets import CHAPTER_OVERHEAD, OVERHEAD, duration, levels, parse_budget
from convscope.chapters import CHAPTERS
from convscope.drawing import Drawings
from convscope.driver import Driver
from convscope.engines.local import LocalEngine
from convscope.findings import Context, Finding, Fit, Search
from convscope.fit import check_device
from convscope.recipe import Recipe, UserError, did_you_mean, one_line, parse_json, recipe_from_json, to_json
from convscope.record import Run, list_runs, seal, set_aside, write_bytes, write_json
from convscope.report import write_report
from convscope.search import check as check_search
from convscope.sweep import Costs, Watcher, choose, kind_of, resolve, timed
from convscope.trackers import check_tracker, tracked

PRESETS = ("quick", "standard", "full")
SEEDS = {"quick": 2, "standard": 3, "full": 5}
BATCH = 128
FALLBACK = ("cifar10", "shapes")  # without a DATA argument: the first, and where no source of it can be reached, the second

# by each worker as it starts; torch imports the second at the first step of an optimiser
IMPORTED = ("convscope.sweep", "torch._dynamo")

ABOUT = ("data", "data_hash", "source", "licence", "notes", "fallback", "preset", "chapters", "seeds", "val", "split_seed", "images",
         "in_shape", "classes", "command", "machine", "choice", "complete")  # fmt: skip


@dataclass(frozen=True)
class Study(Mapping[str, Finding]):
    """The findings by chapter; `sentence` is the last line of report and terminal. `complete` is False after an interruption.

    `broken` names chapters whose analysis failed, with the reason; their runs are on disk.
    """

    path: Path
    findings: dict[str, Finding]
    runs: tuple[Run, ...]
    sentence: str
    complete: bool
    broken: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, chapter: str) -> Finding:
        return self.findings[chapter]

    def __iter__(self) -> Iterator[str]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    @property
    def failed(self) -> list[Run]:
        return [run for run in self.runs if run.status == "failed"]

    def __str__(self) -> str:
        return "\n".join([*map(str, self.findings.values()), str(self.path / "report.html")])


def study(
    data: str | Path | None = None,
    chapters: Sequence[str] | None = None,
    preset: str = "quick",
    *,
    seeds: int | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
    val: float = 0.1,
    size: int | None = None,
    budget: str | float | None = None,
    search: Search | None = None,
    track: str | None = None,
    watcher: Watcher | None = None,
    command: str | None = None,
) -> Study:
    """Train what the chapters ask for and write report.html, results.json, results.csv and charts/ to the study's folder.

    data: a known name, a folder of images or an .npz file; None takes cifar10, or the built-in `shapes` where cifar10 can't be had. The folder is
    runs/DATA-PRESET unless `out` names another. Running again goes on where it stopped. `budget` ("10m", "1h30m", "90s" or seconds) makes the preset fit into a
    time: fewer epochs and trials, then fewer seeds, then fewer training images. `search` is how the chapter `best` looks. `track` names a tracker ("wandb") that
    mirrors every run. Raises UserError for input that can't work, KeyboardInterrupt after the report of what is there has been written.
    """
    started = time.perf_counter()
    watcher = watcher or Watcher()
    names = chosen_chapters(chapters)
    if preset not in PRESETS:
        raise UserError(f"preset {one_line(preset)!r}{did_you_mean(preset, PRESETS)}")
    if seeds is not None and not 1 <= seeds <= 1000:
        raise UserError(f"seeds = {seeds}: from 1 to 1000")
    if workers is not None and not 1 <= workers <= 4 * devices.cores():
        raise UserError(
            f"workers = {workers:,}: from 1 to {4 * devices.cores()}, four for each of this machine's {devices.cores()} cores"
        )
    if not 0.01 <= val <= 0.9:
        raise UserError(f"val = {val}: from 0.01 to 0.9; a study chooses by validation")
    seconds = None if budget is None else parse_budget(budget)
    search = search or Search()
    check_search(search)
    if track is not None:
        check_tracker(track)
    device = check_device(device)
    ahead = kernels.build_ahead() if device == "cpu" else None
    with ExitStack() as stack:
        # workers start and import what they need while the data are fetched and read
        engine = stack.enter_context(LocalEngine(workers or (devices.cores() if device == "cpu" else 1), IMPORTED))
        loaded, fallback = load(data, val, size, watcher)
        if len(loaded.val) == 0 or len(loaded.test) == 0:
            empty = "validation" if len(loaded.val) == 0 else "test"
            raise UserError(
                f"data {one_line(loaded.name)!r}: no {empty} image is left of {len(loaded.train):,}; add images, or hold out more with --val"
            )
        root = study_folder(loaded, preset, out)
        stack.enter_context(study_lock(root))
        prepare_folder(root)
        if ahead is not None:
            ahead.join()
        choice = resolved(root, engine, device, workers, watcher)
        source = str(data) if data is not None else loaded.name
        base = Recipe(data=source, data_hash=loaded.hash, val=val, size=size, batch=min(BATCH, max(1, len(loaded.train) // 8)))
        context = Context(
            loaded, preset, tuple(range(seeds or SEEDS[preset])), resolve(base, choice), tuple(names), folder=root, workers=choice.workers, search=search,
            measured=dict(read_study(root).get("measured", {})),
        )  # fmt: skip
        watcher.say(
            f"{loaded.name}: {len(loaded.train):,} training, {len(loaded.val):,} validation, {len(loaded.test):,} test images"
        )
        for note in loaded.notes:
            watcher.say(note)
        costs = measured_costs(root, engine, loaded, forecast(context), watcher)
        if seconds is not None:
            context = fitted(root, context, costs, seconds, choice.workers, watcher)
        plan = planned(context)
        about = {
            "data": loaded.name,
            "data_hash": loaded.hash,
            "source": loaded.source,
            "licence": loaded.licence,
            "notes": list(loaded.notes),
            "fallback": fallback,
            "preset": preset,
            "chapters": list(names),
            "seeds": list(context.seeds),
            "val": val,
            "split_seed": base.split_seed,
            "images": {"train": len(loaded.train), "val": len(loaded.val), "test": len(loaded.test)},
            "in_shape": list(loaded.in_shape),
            "classes": list(loaded.classes),
            "command": command or f"convscope study {shlex.quote(source)} --preset {preset}",
            "machine": devices.as_dict(devices.this_machine()),
            "choice": devices.as_dict(choice),
        }
        expected = {name: sum(costs.run(recipe) for recipe in recipes) for name, recipes in plan.items()}
        watcher.say(
            f"{sum(map(len, plan.values()))} runs, about {duration(sum(expected.values()) / choice.workers)} of training by this machine's measured speed; results in {root}"
        )
        watcher.plan(expected, choice.workers)
        kept = {"base": to_json(context.base), "seeds": list(context.seeds), "fit": asdict(context.fit), "search": asdict(search)}
        write_study(root, {**read_study(root), "context": kept, "about": {**about, "complete": False}})
        if track is not None:
            watcher = stack.enter_context(tracked(track, watcher, root, loaded.in_shape, loaded.num_classes))
        drawings = stack.enter_context(Drawings())
        driver = Driver(engine, root / "runs", costs, watcher, found=drawings.add)
        try:
            findings = driver.collect(context)
        except KeyboardInterrupt:
            engine.resize(0)
            watcher.say("interrupted: writing the report of what is there")
            driver.only_finished = True
            findings = driver.collect(replace(context, live=False))
            save(root, about, findings, driver, time.perf_counter() - started, False, context, drawings)
            raise
        return save(root, about, findings, driver, time.perf_counter() - started, True, context, drawings)


def planned(context: Context) -> dict[str, list[Recipe]]:
    """By chapter the recipes that it will ask for and no earlier one, as far as is known before anything is trained."""
    plan: dict[str, list[Recipe]] = {}
    known: set[Recipe] = set()
    for name in context.chapters:
        plan[name] = [recipe for recipe in dict.fromkeys(CHAPTERS[name].forecast(context)) if recipe not in known]
        known.update(plan[name])
    return plan


def forecast(context: Context) -> list[Recipe]:
    """The same of all chapters."""
    return [recipe for recipes in planned(context).values() for recipe in recipes]


def fitted(root: Path, context: Context, costs: Costs, budget: float, workers: int, watcher: Watcher) -> Context:
    """The context whose plan fits into the budget by the measured speed; what an earlier process chose for the same request is kept."""
    known = read_study(root)

    def with_(fit: Fit) -> Context:
        return replace(context, fit=fit, seeds=context.seeds[: fit.seeds])

    asked = {"budget": budget, "preset": context.preset, "chapters": list(context.chapters), "seeds": len(context.seeds)}
    kept = known.get("fitted")
    if isinstance(kept, dict) and {key: kept.get(key) for key in asked} == asked:
        return with_(Fit(**kept["fit"]))
    fixed = OVERHEAD + CHAPTER_OVERHEAD * len(context.chapters)
    seconds = 0.0
    for fit in levels(len(context.seeds)):
        seconds = fixed + sum(costs.run(recipe) for recipe in forecast(with_(fit))) / workers
        if seconds <= budget:
            write_study(root, {**known, "fitted": {**asked, "fit": asdict(fit)}})
            if not fit.whole:
                told = [
                    f"{100 * fit.epochs:g} % of the epochs and trials",
                    *([f"{fit.seeds} seed{'s' if fit.seeds > 1 else ''}"] if fit.seeds else []),
                ]
                told += [f"{100 * fit.images:g} % of the training images"] if fit.images < 1 else []
                watcher.say(f"to fit into {duration(budget)}: {', '.join(told)} of the preset {context.preset}")
            return with_(fit)
    raise UserError(
        f"budget = {duration(budget)}: the smallest plan takes about {duration(seconds)} here; give more time or name fewer chapters"
    )


def load(name: str | Path | None, val: float, size: int | None, watcher: Watcher) -> tuple[datasets.Dataset, str]:
    """(data, why it is not what one would expect, or an empty text)"""
    if name is not None:
        return datasets.load(str(name), val=val, size=size, progress=watcher.step), ""
    try:
        return datasets.load(FALLBACK[0], val=val, progress=watcher.step), ""
    except datasets.DataUnavailable as error:
        watcher.say(f"{error}; going on with the built-in data set {FALLBACK[1]!r}")
        return datasets.load(FALLBACK[1], val=val, progress=watcher.step), str(error)


def chosen_chapters(chapters: Sequence[str] | None) -> list[str]:
    names = list(dict.fromkeys(chapters)) if chapters else list(CHAPTERS)
    for name in names:
        if name not in CHAPTERS:
            raise UserError(f"chapter {one_line(name)!r}{did_you_mean(name, CHAPTERS)}")
    return names


def study_folder(data: datasets.Dataset, preset: str, out: str | Path | None) -> Path:
    if out is None:
        safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in data.name)[:80].strip(".-") or "data"
        return Path("runs") / f"{safe}-{preset}"
    path = Path(out)
    text = str(out)
    if any(not c.isprintable() for c in text) or any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in path.parts):
        raise UserError(f"out {one_line(text)!r}: a path of printable characters, each part at most 255 bytes")
    if path.exists() and not path.is_dir():
        raise UserError(f"out {one_line(text)}: a file stands there; name a folder")
    if path.is_dir() and any(path.iterdir()) and not (path / "study.json").exists() and not (path / ".lock").exists():
        raise UserError(f"out {one_line(text)}: not empty and not a study; name a new or empty folder")
    return path


def study_lock(root: Path) -> AbstractContextManager[object]:
    """One process at a time works in a study; the lock dies with its owner."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        return FileLock(root / ".lock").acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"study {one_line(root)}: another convscope is working there; wait for it, or name another folder with --out"
        ) from None
    except OSError as error:
        raise UserError(f"study {one_line(root)}: {error.strerror}; name another folder with --out") from None


def prepare_folder(root: Path) -> None:
    try:
        (root / "runs").mkdir(exist_ok=True)
        if not (root / ".gitignore").exists():
            write_bytes(root / ".gitignore", b"*\n")
    except OSError as error:
        raise UserError(f"study {one_line(root)}: {error.strerror}; name another folder with --out") from None


def write_study(root: Path, tree: dict[str, Any]) -> None:
    content = {key: value for key, value in tree.items() if key != "seal"}
    write_json(root / "study.json", {**content, "seal": seal(content)})


def read_study(root: Path) -> dict[str, Any]:
    """What study.json holds; nothing where there is none. UserError where it does not read or was altered."""
    path = root / "study.json"
    if not path.exists():
        return {}
    try:
        tree = parse_json(path.read_bytes())
    except (UserError, OSError) as error:
        raise UserError(f"study {one_line(root)}: study.json does not read: {one_line(error)}") from None
    if not isinstance(tree, dict) or tree.get("seal") != seal(tree):
        raise UserError(f"study {one_line(root)}: study.json was altered")
    return tree


def mend_study(root: Path, asked: dict[str, Any], watcher: Watcher) -> None:
    """Set an altered study.json aside; the choice that the study's runs were trained with is read from one of them."""
    try:
        read_study(root)
        return
    except UserError as error:
        aside = set_aside(root / "study.json", str(error))
        watcher.say(f"{error}; set aside as {aside.name}")
    for run in list_runs(root / "runs"):
        if isinstance(run, Run):
            recipe = run.recipe
            workers = max(1, devices.cores() // recipe.threads) if recipe.device == "cpu" else 1
            choice = devices.Choice(recipe.device, recipe.precision, recipe.layout, recipe.threads, workers, {}, recipe.kernels)
            write_study(root, {"asked": asked, "choice": devices.as_dict(choice), "costs": {}})
            return


def resolved(root: Path, engine: LocalEngine, device: str, workers: int | None, watcher: Watcher) -> devices.Choice:
    """What was resolved when the study began, or a measurement now: resuming never measures again, so that recipes keep their ids."""
    asked = {"device": device, "workers": workers}
    mend_study(root, asked, watcher)
    known = read_study(root)
    choice = known_choice(known) if known.get("asked") == asked else None
    if choice is None:
        watcher.say("measuring this machine …")
        choice = choose(engine, device, workers)
        write_study(root, {"asked": asked, "choice": devices.as_dict(choice), "costs": {}})
    engine.resize(choice.workers)
    rates = ", ".join(f"{what} {rate:,.0f}" for what, rate in choice.measured.items())
    watcher.say(f"chosen: {choice} (images a second: {rates})")
    return choice


def known_choice(known: dict[str, Any]) -> devices.Choice | None:
    """The choice in study.json; None where there is none that a recipe could take."""
    try:
        choice = devices.Choice(**known["choice"])
        resolve(Recipe(), choice)
        whole = (
            isinstance(choice.workers, int)
            and choice.workers >= 1
            and all(isinstance(rate, int | float) for rate in choice.measured.values())
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return choice if whole else None


def measured_costs(root: Path, engine: LocalEngine, data: datasets.Dataset, recipes: Sequence[Recipe], watcher: Watcher) -> Costs:
    """Seconds an image of each kind of run, measured once and kept in study.json."""
    known = read_study(root)
    costs = known.get("costs")
    kept: dict[str, tuple[float, float]] = {}
    for key, pair in costs.items() if isinstance(costs, dict) else ():
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(value, float) for value in pair):
            kept[key] = (pair[0], pair[1])
    kinds = list(dict.fromkeys(kind_of(recipe) for recipe in recipes))
    missing = [kind for kind in kinds if kind.id not in kept]
    if missing:
        watcher.say(f"timing {len(missing)} kinds of run …")
        kept |= timed(engine, missing)
        write_study(root, {**known, "costs": {key: list(pair) for key, pair in kept.items()}})
    return Costs(data, kept, kinds)


def render(root: Path) -> Study:
    """Write the report of a study's folder again, from the runs that are there; nothing is trained or measured. Raises UserError."""
    if not (root / "study.json").exists():
        raise UserError(f"study {one_line(root)}: no study.json there; name a study's folder")
    known = read_study(root)
    try:
        about, kept = known["about"], known["context"]
        base = recipe_from_json(kept["base"])
        names, preset = chosen_chapters(about["chapters"]), about["preset"]
        if preset not in PRESETS or not set(ABOUT) <= set(about):
            raise UserError("its description is not whole")
        seeds = tuple(int(seed) for seed in kept["seeds"])
        fit, search = Fit(**kept.get("fit", {})), Search(**kept.get("search", {}))
        measured = dict(known.get("measured", {}))
        asked = {name: [[str(key) for key in step] for step in steps if step] for name, steps in known["requests"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"lacks {error}" if isinstance(error, KeyError) else one_line(error)
        raise UserError(f"study {one_line(root)}: study.json {why}; the study's own command writes it again") from None
    with Drawings() as drawings:
        drawings.start()  # while the data are read
        loaded = datasets.load(base.data, val=base.val, size=base.size)
        if loaded.hash != base.data_hash:
            raise UserError(f"study {one_line(root)}: the data {one_line(base.data)!r} have changed since it was trained")
        context = Context(
            loaded, preset, seeds, base, tuple(names), folder=root, search=search, fit=fit, measured=measured, live=False
        )
        with study_lock(root):
            driver = Driver(None, root / "runs", None, Watcher(), asked, drawings.add)
            findings = driver.collect(context)
            return save(root, about, findings, driver, 0.0, about["complete"], context, drawings)


def save(
    root: Path,
    about: dict[str, Any],
    findings: dict[str, Finding],
    driver: Driver,
    seconds: float,
    complete: bool,
    context: Context,
    drawings: Drawings,
) -> Study:
    known = read_study(root)
    earlier = known.get("seconds", 0.0)
    spent = (earlier if isinstance(earlier, int | float) else 0.0) + seconds
    about = {**about, "seconds": round(spent, 1), "complete": complete}
    changed = {
        "seconds": round(spent, 1),
        "about": about,
        "requests": driver.recorded or driver.asked,
        "measured": context.measured,
    }
    write_study(root, {**known, **changed})
    sentence = sentence_of(about["data"], findings)
    if about["fallback"]:
        sentence = f"(Built-in data, because cifar10 could not be had.) {sentence}"
    runs = tuple(driver.runs.values())
    write_report(root, about, findings, runs, driver.used, sentence, context.data, drawings)
    return Study(root, findings, runs, sentence, complete, dict(driver.broken))


def sentence_of(name: str, findings: Mapping[str, Finding]) -> str:
    """What was found in one sentence: a chapter's own, or a clause of each."""
    if len(findings) == 1:
        return next(iter(findings.values())).sentence
    return f"On {one_line(name)}: " + "; ".join(f.brief or f"{f.title.lower()}: {f.verdict}" for f in findings.values()) + "."
