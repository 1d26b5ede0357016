"""Which engine a study or a sweep computes on, and how many workers it has there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.errors import UserError, did_you_mean, one_line

if TYPE_CHECKING:
    from convscope.engines import Engine
    from convscope.machine import Choice
    from convscope.recipe import Recipe

ENGINES = ("local", "ray")

MOST_SLOTS = 100_000


def checked_engine(engine: object, address: object, workers: object) -> None:
    """UserError for an unknown engine, one that is not installed, and what does not go with it."""
    from convscope.engines import check_ray
    from convscope.studies.study_request import checked_workers

    if engine not in ENGINES:
        raise UserError(f"engine {one_line(engine)!r}{did_you_mean(engine, ENGINES)}")
    if address is not None and not (isinstance(address, str) and address.strip()):
        raise UserError(f"address {one_line(address)!r}: auto or HOST:PORT is expected")
    if engine == "ray":
        check_ray(address if isinstance(address, str) else None)
        if workers is not None and not (type(workers) is int and 1 <= workers <= MOST_SLOTS):
            raise UserError(f"workers = {one_line(workers)}: from 1 to {MOST_SLOTS:,} slots")
        return
    if address is not None:
        raise UserError(f"address {one_line(address)!r}: is for --engine ray")
    checked_workers(workers)


def opened(
    engine: str,
    address: str | None,
    workers: int | None,
    device: str,
    code: Iterable[Path] = (),
) -> Engine:
    """An engine whose workers import what runs need.

    workers: None: as many as this machine has cores; on a cluster one, until it is known how
        many fit.
    device: where runs compute.
    code: the user's own Python files and packages that runs need.
    """
    from convscope.engines import LocalEngine, RayEngine
    from convscope.machine import cores

    on_cpu = device == "cpu"
    if engine == "ray":
        gpus = 0 if on_cpu else 1
        return RayEngine(workers or 1, IMPORTED, address=address, gpus=gpus, code=list(code))
    return LocalEngine(workers or (cores() if on_cpu else 1), IMPORTED, copied=on_cpu)


# by each worker as it starts; torch imports the last at the first step of an optimiser
IMPORTED = ("convscope.training.job", "convscope.machine.costs", "torch._dynamo")


def workers_for(engine: Engine, choice: Choice, workers: int | None) -> int:
    """How many workers train, where a study computes as was chosen, perhaps on another engine.

    workers: their number, where the user gives one.
    """
    from convscope.machine import cores

    if workers is not None:
        return workers
    if (room := engine.room(choice.threads)) is not None:
        return room
    if choice.device != "cpu":
        return choice.workers
    return min(choice.workers, max(1, cores() // choice.threads))


def code_of(recipes: Iterable[Recipe]) -> list[Path]:
    """The packages and files of the users' factories among recipes, to be shipped."""
    from convscope.models import shipped
    from convscope.recipe import Custom

    factories = {one.model.factory for one in recipes if isinstance(one.model, Custom)}
    return sorted({path for factory in factories for path in shipped(factory)})
