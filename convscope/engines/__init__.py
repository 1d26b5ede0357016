"""Where jobs run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.engines.affinity import BINDING as BINDING
    from convscope.engines.affinity import allowed_cores as allowed_cores
    from convscope.engines.engine import Engine as Engine
    from convscope.engines.jobs import Event as Event
    from convscope.engines.jobs import Job as Job
    from convscope.engines.jobs import JobQueue as JobQueue
    from convscope.engines.local import LocalEngine as LocalEngine
    from convscope.engines.local import no_main_module as no_main_module
    from convscope.engines.parents import end_with_parent as end_with_parent
    from convscope.engines.ray_engine import RayEngine as RayEngine
    from convscope.engines.ray_engine import check_ray as check_ray

_HOMES = {
    "BINDING": "affinity",
    "Engine": "engine",
    "Event": "jobs",
    "Job": "jobs",
    "JobQueue": "jobs",
    "LocalEngine": "local",
    "RayEngine": "ray_engine",
    "allowed_cores": "affinity",
    "check_ray": "ray_engine",
    "end_with_parent": "parents",
    "no_main_module": "local",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
