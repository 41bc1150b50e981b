"""The rows of a query as columns: the record batches of an Arrow stream, of bounded size.

Rows that are read as they are stored go from the scan into columns, in the native core. All others are made,
as for a list, and their values are put into columns here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib import import_module
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from statestore.errors import EncodeError
from statestore.expressions.nodes import FieldPath
from statestore.expressions.type_checking import record_of
from statestore.fields.types import Field, RecordType
from statestore.query import run
from statestore.query.arrow import NativeColumn, array, field, native_column, pyarrow, rounded, stored
from statestore.query.compile import Filter
from statestore.query.plan import Planned
from statestore.query.reading import KeyScan
from statestore.query.rows import Scan, stored_pairs
from statestore.query.source import Source
from statestore.relational.checking import Clause
from statestore.relational.values import Query
from statestore.runtime.slices import in_slices, pause_point
from statestore.serde.formats import FieldValueError
from statestore.storage.layout import DATA, HEADER
from statestore.storage.view import StoredPairs

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from statestore._native import ColumnBytes, Decoder

MOST_ROWS = 65_536
"""Rows of a batch ..."""
MOST_BYTES = 8 << 20
"""... and bytes of the stored pairs that it is made of, or of its columns where it is made of rows."""
SLICE_ROWS = 2048
"""Rows of a batch that is made of rows in slices: putting their values into columns cannot be paused."""
FIRST_ROWS = 64
"""Rows of the first batch that is made of rows: their size is not known before."""

_Batches = Iterator["pa.RecordBatch"]


def stream(asked: Planned[Any], sources: Sequence[Source[Any]], name: str) -> pa.RecordBatchReader:
    """Return the rows of a query over ``sources``, as of now, as a stream of batches.

    It is read batch by batch, and holds a snapshot until it is read to its end or released. ``name`` is that
    of the method for messages. Raises ``ImportError`` where ``pyarrow`` is missing, ``QueryError`` where the
    rows have no columns. A batch raises what a row does, and ``EncodeError`` for a value that no column can
    have.
    """
    query = asked.query
    query.check_has_columns(name)
    record, *others = query.results
    if others:
        raise Clause(name, query.results).fault(
            "a joined row has no columns: write select(F[…].field, …) before"
        )
    pa = pyarrow()
    assert isinstance(record, RecordType)
    schema = pa.schema([field(one.name, one.type) for one in record.fields])
    batches = None if query.joins else _from_pairs(asked, sources[0], schema)
    if batches is None:
        batches = _from_rows(query, record, schema, run.results(asked, sources))
    return pa.RecordBatchReader.from_batches(schema, batches)


def in_pandas(reader: pa.RecordBatchReader) -> pd.DataFrame:
    """Return what ``reader`` gives. Raises ``ImportError`` where ``pandas`` is not installed."""
    _needed("pandas")
    frame: pd.DataFrame = reader.read_all().to_pandas()
    return frame


def in_polars(reader: pa.RecordBatchReader) -> pl.DataFrame:
    """Return what ``reader`` gives. Raises ``ImportError`` where ``polars`` is not installed."""
    frame: pl.DataFrame = _needed("polars").DataFrame(reader)
    return frame


def _needed(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"to_{name}() needs {name} ({error}): pip install {name}") from error


# By rows


def _from_rows(query: Query[Any], record: RecordType, schema: pa.Schema, scan: Scan[Any]) -> _Batches:
    pa = pyarrow()
    count = FIRST_ROWS
    values_of = _values_of(record)
    computed = query.keys is not None or query.columns is not None
    most = SLICE_ROWS if in_slices() else MOST_ROWS
    try:
        while chunk := list(islice(scan.rows, count)):
            arrays = [
                _array(record, one, values, computed)
                for one, values in zip(record.fields, zip(*map(values_of, chunk), strict=True), strict=True)
            ]
            batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
            size = batch.nbytes // len(chunk) + 1
            del chunk, arrays
            yield batch
            del batch
            count = max(1, min(8 * count, most, MOST_BYTES // size))
            pause_point()
    finally:
        scan.close()


def _values_of(record: RecordType) -> Callable[[Any], Sequence[Any]]:
    """Return what gives the values of a row: a tuple already, or an object with these fields."""
    if issubclass(record.cls, tuple):
        return lambda row: row
    get = attrgetter(*[one.name for one in record.fields])
    return get if len(record.fields) > 1 else lambda row: (get(row),)


def _array(record: RecordType, column: Field, values: Iterable[Any], computed: bool) -> pa.Array:
    values = rounded(column.type, values) if computed else list(values)
    try:
        return array(column.type, values)
    except FieldValueError as fault:
        raise _unfit(record, column, fault) from fault


def _unfit(record: RecordType, column: Field, fault: FieldValueError) -> EncodeError:
    return EncodeError(f"{record.cls.__name__}.{column.name}{fault.path}: {fault}")


# By stored pairs


def _from_pairs(asked: Planned[Any], source: Source[Any], schema: pa.Schema) -> _Batches | None:
    """Return the batches of rows that are read as they are stored; ``None`` for all others."""
    query = asked.query
    codec = source.codec
    decoder = codec.decoder
    columns = _stored_columns(query)
    if decoder is None or not decoder.plain or codec.fills_event_time or columns is None:
        return None
    plan = asked.plan([source])
    read, access = plan.first, plan.first.access
    if not isinstance(access, KeyScan) or not read.reads_pairs or not read.sorted or query.predicates:
        return None
    native = read.filter
    if isinstance(native, str) or (native is not None and native.rest is not None):
        return None
    run.allowed(plan, [source])
    pairs = stored_pairs(source.store, access.keys, read.reverse, plan.stop if plan.is_direct else None)
    return _filled(decoder, columns, pairs, partial(source.decode, source.store), query, native, schema)


class _StoredColumn(NamedTuple):
    place: int
    """Of the field among those of the class."""
    field: Field
    native: NativeColumn


def _stored_columns(query: Query[Any]) -> list[_StoredColumn] | None:
    """Return the columns if they are fields of the entity that the native core reads; ``None`` if not."""
    if query.keys is not None or query.into is not None:
        return None
    record = query.sources[0]
    assert isinstance(record, RecordType)
    known = {
        one.name: _StoredColumn(place, one, native)
        for place, one in enumerate(record.fields)
        if (native := native_column(one.type)) is not None
    }
    names: list[str] = [one.name for one in record.fields]
    if query.columns is not None:
        names = []
        for column in query.columns:
            match column.value:
                case FieldPath(_, (str(name),)):
                    names.append(name)
                case _:
                    return None
    if len(set(names)) < len(names) or not known.keys() >= set(names):
        return None
    return [known[name] for name in names]


def _filled(
    decoder: Decoder,
    columns: Sequence[_StoredColumn],
    pairs: StoredPairs,
    decode: Callable[[bytes, bytes], Any],
    query: Query[Any],
    native: Filter | None,
    schema: pa.Schema,
) -> _Batches:
    from statestore._native import ColumnReader

    pa = pyarrow()
    record = record_of(query.sources[0])
    converted = [(one.field, stored(one.field.type)) for one in columns]
    accepts = None if native is None else native.accepts

    def judge(key: bytes, payload: bytes) -> list[Any] | None:
        """Return the values of a row that C does not read, as ``ColumnReader`` takes them."""
        entity = decode(key, payload)
        if accepts is not None and not accepts(entity):
            return None
        made: list[Any] = []
        for column, convert in converted:
            value = getattr(entity, column.name)
            try:
                made.append(None if value is None else convert(value))
            except FieldValueError as fault:
                raise _unfit(record, column, fault) from fault
        return made

    chosen = [(one.place, *one.native) for one in columns]
    program = None if native is None else native.program
    reader = ColumnReader(decoder, chosen, pairs, len(DATA), HEADER, judge, program)
    skipped = query.skipped
    left = MOST_ROWS if query.stop is None else query.stop
    try:
        while left and (filled := reader.fill(min(MOST_ROWS, left), MOST_BYTES)) is not None:
            count, buffers = filled
            arrays = [
                _array_of(type_, count, of_one) for type_, of_one in zip(schema.types, buffers, strict=True)
            ]
            del filled, buffers
            batch = pa.RecordBatch.from_arrays(arrays, schema=schema).slice(skipped)
            del arrays
            if batch.num_rows:
                yield batch
            del batch
            skipped = max(0, skipped - count)
            left -= count if query.limit is not None else 0
    finally:
        reader.close()


def _array_of(type_: pa.DataType, count: int, buffers: tuple[ColumnBytes | None, ...]) -> pa.Array:
    pa = pyarrow()
    valid, data, ends = [None if one is None else pa.py_buffer(one) for one in buffers]
    parts = [valid, data] if ends is None else [valid, ends, data]
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, pa.Array.from_buffers(type_.storage_type, count, parts))
    return pa.Array.from_buffers(type_, count, parts)
