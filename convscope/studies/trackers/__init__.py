"""Mirrors of a study in experiment trackers: they only watch, and none is the record.

A tracker runs in a process of its own (child.py), so one that fails, dies or hangs costs the study
nothing. To add one: a subclass of Tracker in a file of its own, and a line in names.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.studies.trackers.mirror import Mirror as Mirror
    from convscope.studies.trackers.names import TRACKERS as TRACKERS
    from convscope.studies.trackers.names import Known as Known
    from convscope.studies.trackers.names import all_have as all_have
    from convscope.studies.trackers.names import check_trackers as check_trackers
    from convscope.studies.trackers.names import joined_names as joined_names
    from convscope.studies.trackers.tracker import Begun as Begun
    from convscope.studies.trackers.tracker import Found as Found
    from convscope.studies.trackers.tracker import Tracker as Tracker
    from convscope.studies.trackers.tracking import MEASURES as MEASURES
    from convscope.studies.trackers.tracking import Sayer as Sayer
    from convscope.studies.trackers.tracking import Tracking as Tracking
    from convscope.studies.trackers.tracking import tracked as tracked
    from convscope.studies.trackers.tracking import train_tracked as train_tracked

_HOMES = {
    "Begun": "tracker",
    "Found": "tracker",
    "Known": "names",
    "MEASURES": "tracking",
    "Mirror": "mirror",
    "Sayer": "tracking",
    "TRACKERS": "names",
    "Tracker": "tracker",
    "Tracking": "tracking",
    "all_have": "names",
    "check_trackers": "names",
    "joined_names": "names",
    "tracked": "tracking",
    "train_tracked": "tracking",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
