"""A sweep: recipes × seeds become runs through the engine of a study, and the runs a result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from convscope.data import Dataset
from convscope.engines import Engine
from convscope.errors import UserError, one_line
from convscope.files import write_bytes
from convscope.machine import Costs, choose, cores, cost_kind, resolve, timed
from convscope.models import size_of, with_sources
from convscope.planning import Request, duration, parse_budget
from convscope.recipe import Recipe
from convscope.report import Drawings, Finding
from convscope.studies.engines import code_of, opened, workers_for
from convscope.studies.folder import StudyFolder
from convscope.studies.run_queue import Sweep
from convscope.studies.study_json import Asked
from convscope.studies.sweep_grid import Swept, seeds_from
from convscope.studies.sweep_request import SweepRequest, check_request, pairs_from
from convscope.studies.sweep_result import SweepResult, compared
from convscope.studies.toml_files import toml_of
from convscope.studies.trackers import joined_names, tracked
from convscope.studies.watcher import Watcher
from convscope.training import (
    Run,
    build_kernels_ahead,
    check_batch,
    check_crop,
    check_device,
    dataset_of,
    find_run,
)
from convscope.words import count

MOST_TIMED = 6  # kinds of run; what others cost follows from their FLOPs

# the settings that decide which images there are
DATA_FIELDS = ("data", "data_hash", "size", "columns", "group_by", "resize", "classes")
DATA_FIELDS += ("val", "split_seed")


class SweepFolder(StudyFolder):
    """A sweep's folder: what was measured lies in sweep.json, what was asked in sweep.toml."""

    FILE: ClassVar[str] = "sweep.json"


def sweep(
    recipes: Recipe | Sequence[Recipe],
    grid: Mapping[str, Sequence[Any]] | None = None,
    seeds: int | Sequence[int] | None = None,
    *,
    compare: Sequence[tuple[str, str]] | None = None,
    margin: float | None = None,
    measure: str = "accuracy",
    split: str = "test",
    out: str | Path = "runs/sweep",
    workers: int | None = None,
    track: str | Sequence[str] | None = None,
    silence: str | float | None = None,
    engine: str = "local",
    address: str | None = None,
    watcher: Watcher | None = None,
) -> SweepResult:
    """Train recipes × seeds and compare them; again, it goes on where it stopped.

    recipes: one recipe, or a list. They are trained as they are; `tuned` makes one fast here.
    grid: name of a setting -> its values, in all combinations: a field of a recipe or of its
        network, or an argument of a user's factory.
    seeds: of each configuration: their number, or a list; None: those of the recipes.
    compare: pairs of configurations, as ("width=32", "width=16"); None: every pair, where that
        makes at most ten, else each against the first.
    margin: a difference that does not matter, as for `compare`.
    measure, split: what is compared, as for `compare`; the error is split over all comparisons.
    out: the sweep's folder.
    workers: processes that train; None: as many as the recipes' threads leave room for.
    track: trackers ("wandb,mlflow", or a list) that mirror every run.
    silence: a time ("10m") after which a run that reports nothing is ended; None: as for `study`.
    engine, address: local or ray; of a Ray cluster, None: RAY_ADDRESS's, else of this machine.
    watcher: sees the sweep go by.

    Raises UserError for what cannot work, KeyboardInterrupt after writing what is there.
    """
    starts = [recipes] if isinstance(recipes, Recipe) else list(recipes)
    for one in starts:
        if not isinstance(one, Recipe):
            raise UserError(f"recipes: {one_line(repr(one))} is no recipe, as cs.Recipe() is one")
    asked = SweepRequest(
        tuple(("", one) for one in starts),
        {key: as_list(key, values) for key, values in (grid or {}).items()},
        None if seeds is None else seeds_from(seeds),
        compare=pairs_from(compare),
        margin=margin,
        measure=measure,
        split=split,
        out=out,
        workers=workers,
        track=joined_names(track),
        silence=None if silence is None else parse_budget(silence, "silence"),
        engine=engine,
        address=address,
    )
    return carry_out(asked, watcher or Watcher())


def as_list(key: str, values: Any) -> list[Any]:
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise UserError(f"grid: {key} = {one_line(values)}: a list of values is expected")
    return list(values)


def carry_out(asked: SweepRequest, watcher: Watcher) -> SweepResult:
    """Check, open, measure, train, compare, save.

    Raises UserError, and KeyboardInterrupt after what is there has been written.
    """
    configurations, _ = check_request(asked)
    joined_names(asked.track)
    root = Path(asked.out)
    device = check_device(asked.device) if asked.free else configurations[0].recipe.device
    with ExitStack() as stack:
        on_cpu = device == "cpu"
        ahead = build_kernels_ahead() if on_cpu else None
        code = code_of(one.recipe for one in configurations)
        engine = opened(asked.engine, asked.address, asked.workers, device, code)
        stack.enter_context(engine)
        data = images_of(configurations, watcher)
        check_fit(configurations, data)
        stack.enter_context(StudyFolder.lock(root))
        folder = SweepFolder.create(root, Asked(device, asked.workers), watcher.say)
        if ahead is not None:
            ahead.join()
        asked = resolved(asked, folder, engine, device, watcher)
        write_bytes(root / "sweep.toml", toml_of(asked.tree()).encode())
        configurations = with_hashes(asked.configurations(), data)
        if asked.track is not None:
            first = next(iter(data.values()))
            mirrored = tracked(asked.track, watcher, root, first.in_shape, first.num_classes)
            watcher = stack.enter_context(mirrored)
        drawings = stack.enter_context(Drawings(svg_only=True))
        drawings.start()  # what draws is imported beside the runs, not at the end
        queue, interrupt = trained(asked, configurations, folder, engine, data, watcher)
        from convscope.studies.sweep_files import write_sweep  # draws, which takes a second

        result = collected(asked, configurations, queue, root, complete=interrupt is None)
        write_sweep(result, data_of(configurations[0].recipe, data), asked, drawings)
        found = finding_of(result)
        watcher.reported(root, found.sentence, {found.name: found})
        if interrupt is not None:
            raise interrupt
        return result


def finding_of(result: SweepResult) -> Finding:
    """What a tracker is told of a sweep, which is one chapter."""
    configurations = count(len(result.configurations), "configuration")
    sentence = " ".join(f"{one}." for one in result.comparisons) or f"{configurations}."
    words = [one.found.word if one.found else "not compared" for one in result.comparisons]
    verdict = "; ".join(words) or "nothing to compare"
    return Finding("sweep", "Sweep", f"How do {configurations} compare?", verdict, sentence, {})


def images_of(
    configurations: Sequence[Swept], watcher: Watcher
) -> dict[tuple[object, ...], Dataset]:
    """The images of all configurations, each set loaded once; UserError where they changed."""
    found: dict[tuple[object, ...], Dataset] = {}
    for one in configurations:
        key = data_key(one.recipe)
        if key in found:
            continue
        loaded = found[key] = dataset_of(one.recipe)
        if one.recipe.data_hash not in ("", loaded.hash):
            raise UserError(
                f"data {one_line(one.recipe.data)!r} changed since the recipe was written: "
                f"{one.recipe.data_hash[:12]} then, {loaded.hash[:12]} now"
            )
        watcher.say(
            f"{loaded.name}: {len(loaded.train):,} training, {len(loaded.val):,} validation, "
            f"{len(loaded.test):,} test images"
        )
        for line in loaded.said:
            watcher.say(line)
    return found


def data_key(recipe: Recipe) -> tuple[object, ...]:
    return tuple(getattr(recipe, name) for name in DATA_FIELDS if name != "data_hash")


def data_of(recipe: Recipe, data: Mapping[tuple[object, ...], Dataset]) -> Dataset:
    return data[data_key(recipe)]


def check_fit(configurations: Sequence[Swept], data: Mapping[tuple[object, ...], Dataset]) -> None:
    """UserError for a configuration that its images do not fit, before anything is trained."""
    seen: set[object] = set()
    for one in configurations:
        recipe, loaded = one.recipe, data_of(one.recipe, data)
        number = min(len(loaded.train), recipe.limit or len(loaded.train))
        try:
            check_batch(recipe, number)
            check_crop(recipe, loaded.in_shape)
            if (key := (recipe.model, loaded.in_shape, loaded.num_classes)) not in seen:
                seen.add(key)
                size_of(recipe.model, loaded.in_shape, loaded.num_classes)
        except UserError as error:
            raise UserError(f"{one_line(one.name)}: {error}") from None


def resolved(
    asked: SweepRequest, folder: StudyFolder, engine: Engine, device: str, watcher: Watcher
) -> SweepRequest:
    """The request with nothing left open: what the machine does fastest is measured once."""
    starts = asked.starts
    if asked.free:
        wanted = Asked(device, asked.workers)
        choice = folder.choice if folder.asked == wanted else None
        if choice is None:
            watcher.say("measuring this machine …")
            choice = choose(engine, device, asked.workers)
            folder.begin(wanted, choice)
        watcher.say(f"chosen: {choice}")
        free = ("device", *asked.free)
        best = resolve(Recipe(), choice)
        chosen = {name: getattr(best, name) for name in free}
        starts = tuple((name, replace(recipe, **chosen)) for name, recipe in starts)
        engine.resize(workers_for(engine, choice, asked.workers), choice.threads)
    else:
        threads = max(recipe.threads for _, recipe in starts)
        on_cpu = starts[0][1].device == "cpu"
        room = engine.room(threads)
        if room is None:
            room = max(1, cores() // threads) if on_cpu else 1
        engine.resize(asked.workers or room, threads)
    if not set(DATA_FIELDS) & set(asked.grid):
        starts = tuple((n, replace(r, data_hash=dataset_of(r, False).hash)) for n, r in starts)
    starts = tuple((n, replace(r, model=with_sources(r.model))) for n, r in starts)
    return replace(asked, starts=starts, free=())


def with_hashes(
    configurations: Sequence[Swept], data: Mapping[tuple[object, ...], Dataset]
) -> tuple[Swept, ...]:
    """The configurations as they are trained: with the hashes of their images and sources."""
    found = []
    for one in configurations:
        recipe = replace(one.recipe, data_hash=data_of(one.recipe, data).hash)
        found.append(replace(one, recipe=replace(recipe, model=with_sources(recipe.model))))
    return tuple(found)


class CostsByData(Costs):
    """Seconds that runs take, where a sweep's configurations are on several sets of images."""

    def __init__(self, by_hash: Mapping[tuple[object, ...], Costs]) -> None:
        self.by_hash = by_hash

    def run(self, recipe: Recipe) -> float:
        return self.by_hash[data_key(recipe)].run(recipe)

    def since_row_before(self, recipe: Recipe, epoch: int) -> float:
        return self.by_hash[data_key(recipe)].since_row_before(recipe, epoch)


def costs_of(
    recipes: Sequence[Recipe],
    folder: StudyFolder,
    engine: Engine,
    data: Mapping[tuple[object, ...], Dataset],
    watcher: Watcher,
) -> Costs:
    """The seconds of each kind of run: a few are measured, others follow from their FLOPs."""
    by_data: dict[tuple[object, ...], Costs] = {}
    for key, loaded in data.items():
        here = [recipe for recipe in recipes if data_key(recipe) == key]
        kinds = list(dict.fromkeys(map(cost_kind, here)))
        step = max(1, -(-len(kinds) // MOST_TIMED))
        missing = [kind for kind in kinds[::step] if kind.id not in folder.costs]
        if missing:
            watcher.say(f"timing {count(len(missing), 'kind')} of run …")
            try:
                folder.costs = {**folder.costs, **timed(engine, missing)}
            except RuntimeError as error:  # the run itself will say what is wrong with it
                watcher.say(f"not timed, so the time left is unknown: {one_line(error)}")
            folder.save()
        by_data[key] = Costs(loaded, folder.costs, kinds)
    return CostsByData(by_data)


def trained(
    asked: SweepRequest,
    configurations: Sequence[Swept],
    folder: StudyFolder,
    engine: Engine,
    data: Mapping[tuple[object, ...], Dataset],
    watcher: Watcher,
) -> tuple[Sweep, KeyboardInterrupt | None]:
    """Train what is not on disk, and what broke that off."""
    recipes = [recipe for one in configurations for recipe in one.recipes]
    begun = {path.name for path in folder.runs.iterdir()} if folder.runs.exists() else set[str]()
    new = [recipe for recipe in recipes if recipe.id not in begun]
    costs = costs_of(new, folder, engine, data, watcher)
    expected = sum(map(costs.run, new))
    watcher.say(
        f"{count(len(configurations), 'configuration')}, {count(len(recipes), 'run')}, "
        f"{len(new):,} of them new: about {duration(expected / max(1, len(engine.workers)))}; "
        f"results in {one_line(folder.root)}"
    )
    watcher.plan({"sweep": expected}, max(1, len(engine.workers)))
    queue = Sweep(engine, folder.runs, costs, watcher, silence=asked.silence)
    request = Request(recipes, "final")
    watcher.asked("sweep", [request], *queue.ask(request))
    try:
        while not queue.idle:
            ended = queue.wait()
            assert ended, "an engine ends every job"
    except KeyboardInterrupt as interrupt:
        engine.resize(0)
        watcher.say("interrupted: writing the results of what is there")
        return queue, interrupt
    watcher.found("sweep")
    return queue, None


def collected(
    asked: SweepRequest,
    configurations: Sequence[Swept],
    queue: Sweep,
    root: Path,
    *,
    complete: bool,
) -> SweepResult:
    """The runs by configuration, and the comparisons between them."""
    runs: dict[str, tuple[Run, ...]] = {}
    for one in configurations:
        found = [queue.runs.get(r.id) or on_disk(r, root / "runs") for r in one.recipes]
        runs[one.name] = tuple(run for run in found if run is not None)
    pairs = asked.pairs(configurations)
    compared_ = [compared(a, b, runs, asked, configurations, len(pairs)) for a, b in pairs]
    return SweepResult(root, tuple(configurations), runs, tuple(compared_), complete, queue.altered)


def on_disk(recipe: Recipe, root: Path) -> Run | None:
    """A run that has ended, where the queue does not know of it; None where it has not."""
    try:
        return find_run(recipe, root)
    except UserError:
        return None
