"""Which runs of a plan a shard trains, and the script of an array job."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from convscope.errors import UserError, one_line
from convscope.recipe import Recipe

MOST_SHARDS = 10_000


@dataclass(frozen=True)
class Share:
    """One of several shards; number and `of` count from 1."""

    number: int
    of: int

    @classmethod
    def named(cls, text: str) -> Share:
        """The share that "3/8" names. Raises UserError."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        if found is None or not 1 <= int(found[1]) <= int(found[2]) <= MOST_SHARDS:
            raise UserError(
                f"shard {one_line(text)!r}: write 3/8 for the third of eight, "
                f"of at most {MOST_SHARDS:,}"
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def part_of(self, recipes: Sequence[Recipe], cost: Callable[[Recipe], float]) -> set[str]:
        """The ids of those recipes that this shard trains; the others train the rest.

        The longest first, each goes to the shard that has least to do so far. Every shard comes to
        the same division, because the costs are the plan's.
        """
        by_id = {recipe.id: recipe for recipe in recipes}
        costs = {key: cost(recipe) for key, recipe in by_id.items()}
        # small requests must not all begin with the first shard
        first = int(min(by_id), 16) % self.of if by_id else 0
        load = [0.0] * self.of
        mine: set[str] = set()
        for key in sorted(by_id, key=lambda key: (-costs[key], key)):
            place = min(range(self.of), key=lambda i: (load[i], (i - first) % self.of))
            load[place] += max(costs[key], 1e-9)
            if place == self.number - 1:
                mine.add(key)
        return mine


def slurm_script(
    command: Sequence[str],
    plan: Path,
    shards: int,
    options: Mapping[str, object],
    folder: Path,
) -> str:
    """A script for sbatch: an array of jobs, each a shard.

    command: runs `convscope study`, without its options.
    plan: the plan's folder; each shard goes to PLAN/shards/NUMBER.
    options: of sbatch; None: left to the cluster.
    folder: where the jobs run, because the names of data may be relative to it.
    """
    plan = (folder / plan).absolute()
    place = shlex.quote(str(plan / "shards"))
    given = [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
    lines = [
        "#!/bin/bash",
        "#SBATCH --job-name=convscope",
        f"#SBATCH --array=1-{shards}",
        *given,
        "set -eu",
        f"cd {shlex.quote(str(folder.absolute()))}",
        f"mkdir -p {place}",
        f"exec {shlex.join(command)} --plan {shlex.quote(str(plan / 'study.json'))} \\",
        f'  --shard "${{SLURM_ARRAY_TASK_ID}}/{shards}" --out {place}/"${{SLURM_ARRAY_TASK_ID}}"',
    ]
    return "\n".join(lines) + "\n"
