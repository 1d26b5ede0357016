"""Parquet and arrow files by pyarrow, an extra, which is imported here alone."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from convscope.data.memory import refuse_what_does_not_fit
from convscope.data.tables import Table
from convscope.errors import UserError, one_line

ROWS_AT_ONCE = 256


def arrow(module: str) -> Any:
    """A module of pyarrow. Raises UserError where pyarrow is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(
            "parquet and arrow files are read by pyarrow, which is not installed; "
            "run pip install 'convscope[parquet]'"
        ) from None


@contextlib.contextmanager
def faults_told(shown: str) -> Iterator[None]:
    """What a damaged file leads pyarrow to raise becomes one line."""
    try:
        yield
    except UserError as error:  # as where pyarrow is not installed
        raise error if shown in str(error) else UserError(f"{shown}: {error}") from None
    except FileNotFoundError:
        raise UserError(f"{shown}: is gone; get it again") from None
    except PermissionError:
        raise UserError(f"{shown}: permission denied; make it readable") from None
    except Exception as error:  # ArrowInvalid and others, by what the bytes are
        raise UserError(
            f"{shown}: not a readable parquet or arrow file ({one_line(error, 80)}); "
            "get or write it again"
        ) from None


def schema_of(path: Path) -> Any:
    """The schema of a parquet or arrow file. Raises UserError for other files."""
    with faults_told(one_line(path)):
        if path.suffix.lower() == ".parquet":
            return arrow("pyarrow.parquet").read_schema(path)
        with _arrow_reader(path) as reader:
            return reader.schema


def features_of(schema: Any) -> dict[str, dict[str, Any]]:
    """Column -> what the library `datasets` wrote of it; {} where it wrote nothing."""
    try:
        found = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    except (TypeError, KeyError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: kind for name, kind in found.items() if isinstance(kind, dict)}


def holds_images(schema: Any) -> list[str]:
    """The columns with images as bytes: binary ones, and structs with a field `bytes`."""
    types = arrow("pyarrow.types")
    found = []
    for column in schema:
        kind = column.type
        if types.is_struct(kind):
            binary = [inner.type for inner in kind if inner.name == "bytes"]
        else:
            binary = [kind]
        if any(types.is_binary(t) or types.is_large_binary(t) for t in binary):
            found.append(column.name)
    return found


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of a parquet or arrow file, some at a time, as Python values."""
    with faults_told(one_line(path)):
        if path.suffix.lower() == ".parquet":
            file = arrow("pyarrow.parquet").ParquetFile(path)
            batches = file.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(columns))
            yield from _values(batches, columns)
        else:
            with _arrow_reader(path) as reader:
                yield from _values(_batches(reader), columns)


def _values(batches: Any, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS_AT_ONCE):
            part = batch.slice(start, ROWS_AT_ONCE)
            yield from zip(*(part.column(name).to_pylist() for name in columns), strict=True)


@contextlib.contextmanager
def _arrow_reader(path: Path) -> Iterator[Any]:
    """The reader of an arrow file of either form: the library `datasets` writes streams."""
    pyarrow, ipc = arrow("pyarrow"), arrow("pyarrow.ipc")
    with pyarrow.memory_map(str(path)) as source:
        whole = source.read(6) == b"ARROW1"
        source.seek(0)
        with ipc.open_file(source) if whole else ipc.open_stream(source) as reader:
            yield reader


def _batches(reader: Any) -> Iterator[Any]:
    """The record batches of either form."""
    if hasattr(reader, "num_record_batches"):
        return (reader.get_batch(i) for i in range(reader.num_record_batches))
    return iter(reader)


def read_parquet_table(path: Path, shown: str) -> Table:
    """The columns of texts, numbers and truth values of a parquet file, as texts."""
    with faults_told(shown):
        parquet = arrow("pyarrow.parquet")
        needed = parquet.ParquetFile(path).metadata
        total = sum(needed.row_group(i).total_byte_size for i in range(needed.num_row_groups))
        refuse_what_does_not_fit(8 * total, f"{shown}: its rows take", "split the table")
        types = arrow("pyarrow.types")
        names = [
            column.name
            for column in parquet.read_schema(path)
            if not (types.is_nested(column.type) or types.is_binary(column.type))
        ]
        table = parquet.read_table(path, columns=names)
        columns = [_texts(column) for column in table.columns]
    if not names or not len(columns[0]):
        raise UserError(f"{shown}: has no rows of texts; needs a path and a label for each image")
    return Table(shown, tuple(names), tuple(columns))


def _texts(column: Any) -> tuple[str, ...]:
    """Values as texts; "" for one that is missing."""
    kind = column.type
    if arrow("pyarrow.types").is_dictionary(kind):
        column = column.cast(kind.value_type)
    return tuple("" if value is None else str(value) for value in column.to_pylist())
