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
    from convscope.machine.circumstances import what_is_unusual as what_is_unusual
    from convscope.machine.costs import Costs as Costs
    from convscope.machine.costs import cost_kind as cost_kind
    from convscope.machine.costs import seconds_of as seconds_of
    from convscope.machine.costs import timed as timed
    from convscope.machine.description import Machine as Machine
    from convscope.machine.description import as_dict as as_dict
    from convscope.machine.description import this_machine as this_machine
    from convscope.machine.limits import cores as cores
    from convscope.machine.limits import memory_bytes as memory_bytes
    from convscope.machine.limits import memory_limit as memory_limit
    from convscope.machine.limits import physical_memory as physical_memory
    from convscope.machine.limits import quota as quota
    from convscope.machine.measurement import Numerics as Numerics
    from convscope.machine.measurement import best_numerics as best_numerics
    from convscope.machine.measurement import best_threads as best_threads
    from convscope.machine.remembering import forget as forget
    from convscope.machine.remembering import keep as keep
    from convscope.machine.remembering import known_figures as known_figures
    from convscope.machine.remembering import recalled as recalled

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
    "cores": "limits",
    "cost_kind": "costs",
    "forget": "remembering",
    "keep": "remembering",
    "known_figures": "remembering",
    "memory_bytes": "limits",
    "memory_limit": "limits",
    "physical_memory": "limits",
    "quota": "limits",
    "recalled": "remembering",
    "resolve": "choosing",
    "seconds_of": "costs",
    "this_machine": "description",
    "timed": "costs",
    "tuned": "choosing",
    "what_is_unusual": "circumstances",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
