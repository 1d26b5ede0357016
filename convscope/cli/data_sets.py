"""`convscope data`: list, fetch and info."""

from __future__ import annotations

from convscope.cli.options import Json, NamedData, Size
from convscope.cli.printing import show


def data_list(as_json: Json = False) -> None:
    """The data sets known by name."""
    from convscope.data import names

    known = names()
    show("\n".join(f"{name:<14}  {line}" for name, line in known.items()), as_json, known)


def data_fetch(data: NamedData, size: Size = None) -> None:
    """Bring a data set into the cache, checked."""
    from convscope.data import check_there

    check_there(data, size)
    from convscope.data import fetch
    from convscope.studies import Lines

    print(fetch(data, size=size, progress=Lines().step))


def data_info(data: NamedData, size: Size = None, as_json: Json = False) -> None:
    """Counts, class balance, duplicates, near-duplicates, mean and standard deviation."""
    from convscope.data import check_there

    check_there(data, size)
    from convscope.data import info, load
    from convscope.studies import Lines

    loaded = load(data, size=size, progress=Lines().step)
    found = info(loaded, near=True)
    show(f"{loaded}\n\n{found}", as_json, found.to_json())
