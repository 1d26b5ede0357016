"""What this machine can do, measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.machine.choice import Choice as Choice
    from convscope.machine.choosing import Report as Report
    from convscope.machine.choosing import choose as choose
    from convscope.machine.choosing import resolve as resolve
    from convscope.machine.choosing import tuned as tuned
    from convscope.machine.costs import Costs as Costs
    from convscope.machine.costs import cost_kind as cost_kind
    from convscope.machine.costs import seconds_of as seconds_of
    from convscope.machine.costs import timed as timed
    from convscope.machine.description import Machine as Machine
    from convscope.machine.description import as_dict as as_dict
    from convscope.machine.description import cores as cores
    from convscope.machine.description import this_machine as this_machine
    from convscope.machine.measurement import Numerics as Numerics
    from convscope.machine.measurement import best_numerics as best_numerics
    from convscope.machine.measurement import best_threads as best_threads

_HOMES = {
    "Choice": "choice",
    "Costs": "costs",
    "Machine": "description",
    "Numerics": "measurement",
    "Report": "choosing",
    "as_dict": "description",
    "best_numerics": "measurement",
    "best_threads": "measurement",
    "choose": "choosing",
    "cores": "description",
    "cost_kind": "costs",
    "resolve": "choosing",
    "seconds_of": "costs",
    "this_machine": "description",
    "timed": "costs",
    "tuned": "choosing",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
