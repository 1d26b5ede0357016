"""Resolve `auto` by a short measurement in the engine's workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from convscope.engines import Engine, Job
from convscope.machine.choice import Choice
from convscope.machine.limits import cores
from convscope.machine.measurement import (
    CLEARLY,
    Numerics,
    best_numerics,
    best_threads,
    throughput,
)
from convscope.recipe import Recipe
from convscope.training import check_device, keep_freed_memory, own_settings

Report = Callable[[Any], None]


def numerics_job(_report: Report, name: str, threads: int) -> Numerics:
    keep_freed_memory()
    return best_numerics(name, threads)


def throughput_job(_report: Report, name: str, numerics: Numerics, threads: int) -> float:
    keep_freed_memory()
    return throughput(name, numerics.way, threads)


def choose(engine: Engine, device_name: str, workers: int | None) -> Choice:
    """Resolve precision, layout, kernels, processes and threads by a measurement of a few seconds.

    engine: measured are its workers, as they will train.
    device_name: the device.
    workers: the number of processes, where the user gives one.
    """
    room = engine.room(1)
    if room is not None:
        return chosen_elsewhere(engine, device_name, workers, room)
    count = cores()
    threads = max(1, count // workers) if workers else 1  # of the runs; one until that is measured
    job = Job("numerics", numerics_job, (device_name, threads))
    best: Numerics = engine.gather([job])["numerics"]
    measured = dict(best.measured)
    if device_name != "cpu":
        return Choice(
            device_name, best.precision, best.layout, 1, workers or 1, measured, best.kernels
        )
    if workers is None and count > 1:
        alone = engine.gather([Job("alone", throughput_job, (device_name, best, count))])["alone"]
        engine.resize(count)
        together = sum(
            engine.gather(
                [Job(str(i), throughput_job, (device_name, best, 1)) for i in range(count)]
            ).values()
        )
        measured |= {
            f"1 process × {count} threads": round(alone),
            f"{count} processes × 1 thread": round(together),
        }
        # threads of one process wait for each other, so that other work slows all of them
        workers = 1 if alone > CLEARLY * together else count
    workers = workers or 1
    threads = max(1, count // workers)
    return Choice(
        device_name, best.precision, best.layout, threads, workers, measured, best.kernels
    )


def chosen_elsewhere(engine: Engine, device_name: str, workers: int | None, room: int) -> Choice:
    """As `choose`, on a cluster: one of its workers is measured, and each core or GPU is a slot.

    room: slots of one core or GPU. Where the user wants fewer, each has more cores.
    """
    on_cpu = device_name == "cpu"
    threads = max(1, room // workers) if workers and on_cpu else 1
    while threads > 1 and (engine.room(threads) or 0) < (workers or 1):
        threads -= 1  # no slot spans two nodes
    job = Job("numerics", numerics_job, (device_name, threads))
    engine.resize(1, threads)
    best: Numerics = engine.gather([job])["numerics"]
    return Choice(
        device_name,
        best.precision,
        best.layout,
        threads,
        workers or room,
        dict(best.measured),
        best.kernels,
    )


def tuned(recipe: Recipe) -> Recipe:
    """The recipe as its device computes it fastest, which is measured now, within seconds.

    Precision, layout, kernels and threads are replaced, which changes the recipe's id; "cuda"
    becomes "cuda:0". What is measured are training steps of a small network, beside all else that
    the machine does now. Raises UserError where the machine has no such device.
    """
    device = check_device(recipe.device)
    with own_settings(device):
        best = best_numerics(device)
        threads = best_threads(device, best)
    return replace(
        recipe,
        device=device,
        precision=best.precision,
        layout=best.layout,
        kernels=best.kernels,
        threads=threads,
    )


def resolve(recipe: Recipe, choice: Choice) -> Recipe:
    """The recipe as it is computed on this machine."""
    return replace(
        recipe,
        device=choice.device,
        precision=choice.precision,
        layout=choice.layout,
        threads=choice.threads,
        kernels=choice.kernels,
    )
