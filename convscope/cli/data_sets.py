"""`convscope data`: list, fetch and info."""

from __future__ import annotations

from convscope.cli.options import Classes, Columns, GroupBy, Json, NamedData, Resize, Size
from convscope.cli.printing import show
from convscope.cli.refusals import looked_at


def data_list(as_json: Json = False) -> None:
    """The data sets known by name."""
    from convscope.data import names

    known = names()
    show("\n".join(f"{name:<14}  {line}" for name, line in known.items()), as_json, known)


def data_fetch(
    data: NamedData,
    size: Size = None,
    columns: Columns = None,
    group_by: GroupBy = None,
    resize: Resize = "crop",
    classes: Classes = "folders",
) -> None:
    """Bring a data set into the cache, checked."""
    from convscope.data import Options

    options = Options(size, columns, group_by, resize, classes)
    looked_at(data, options)
    from convscope.data import fetch
    from convscope.studies import Lines

    print(fetch(data, **vars(options), progress=Lines().step))


def data_info(
    data: NamedData,
    size: Size = None,
    columns: Columns = None,
    group_by: GroupBy = None,
    resize: Resize = "crop",
    classes: Classes = "folders",
    as_json: Json = False,
) -> None:
    """Files, sizes, what was skipped; classes and their counts, duplicates, mean, deviation."""
    from convscope.data import Options

    options = Options(size, columns, group_by, resize, classes)
    looked_at(data, options)
    from convscope.data import info, load
    from convscope.studies import Lines

    loaded = load(data, **vars(options), progress=Lines().step)
    found = info(loaded, near=True)
    show(f"{loaded}\n\n{found}", as_json, found.to_json())
