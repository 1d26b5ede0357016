"""The control groups of Linux that hold this process, in version 1 and 2.

Each limit may stand in any group from the process's own up to the root, and the smallest one holds.
Inside a container the groups above are hidden, and its own looks like the root.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NO_LIMIT = 1 << 60  # bytes and more are none: version 1 writes 2^63, rounded down to a page

LIMITS = {1: ("memory.limit_in_bytes",), 2: ("memory.max", "memory.high")}
USAGE = {1: "memory.usage_in_bytes", 2: "memory.current"}
CACHED = {1: "total_inactive_file", 2: "inactive_file"}  # is given back when memory is needed


@dataclass(frozen=True)
class Group:
    """A control group's folder and the version of its files."""

    folder: Path
    version: int

    def text(self, name: str) -> str:
        """What one of its files says; "" where it cannot be read."""
        return text_of(self.folder / name)


def groups_of(controller: str, root: Path = Path("/")) -> Iterator[Group]:
    """The control groups that hold this process, for one controller, from its own up to the root.

    controller: "cpu" or "memory".
    root: where the system's files are, which tests place elsewhere.

    Each line of /proc/self/cgroup is NUMBER:CONTROLLERS:PATH; version 2 has no controllers there.
    """
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers:
            if controller not in controllers.split(","):
                continue
            bases = (f"sys/fs/cgroup/{controllers}", f"sys/fs/cgroup/{controller}")
            version = 1
        else:
            bases, version = ("sys/fs/cgroup", "sys/fs/cgroup/unified"), 2
        for base in bases:
            top = root / base
            # a path that the container does not show is that of the host: only its end is here
            parts = [part for part in path.split("/") if part not in ("", "..")]
            for count in range(len(parts), -1, -1):
                folder = top.joinpath(*parts[:count])
                if folder.is_dir():
                    yield Group(folder, version)


def text_of(path: Path) -> str:
    """A file's text without blanks at its ends; "" where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def memory_limits(group: Group) -> list[int]:
    """The bytes that one group allows; [] without a limit."""
    found = [int(text) for text in map(group.text, LIMITS[group.version]) if text.isdecimal()]
    return [limit for limit in found if 0 < limit < NO_LIMIT]


def memory_limit(root: Path = Path("/")) -> int | None:
    """Bytes of memory that the control groups allow; None without a limit."""
    groups = groups_of("memory", root)
    return min((limit for group in groups for limit in memory_limits(group)), default=None)


def memory_left(root: Path = Path("/")) -> int | None:
    """Bytes that the control groups still allow; None without a limit."""
    left = []
    for group in groups_of("memory", root):
        used = group.text(USAGE[group.version])
        if used.isdecimal():
            words = [line.split() for line in group.text("memory.stat").splitlines()]
            cached = [int(count) for name, count in words if name == CACHED[group.version]]
            left += [limit - int(used) + sum(cached) for limit in memory_limits(group)]
    return max(0, min(left)) if left else None
