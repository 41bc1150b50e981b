"""How a manager makes tables and streams."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from statestore.changelog.binder import Binder
from statestore.changelog.binding import Binding
from statestore.changelog.long_keys import LongKeys
from statestore.changelog.mirror import Mirror
from statestore.changelog.undecodable import DecodingFilter
from statestore.entity import EntityModel
from statestore.errors import StateStoreError, StoreClosedError
from statestore.naming import physical_name
from statestore.producing.encoding import BoundStore
from statestore.producing.writer import EntityWriter
from statestore.query.rows import stored_keys
from statestore.query.source import ScanPolicy
from statestore.serde.entities import EntityCodec
from statestore.serde.indexes import EntityIndexes
from statestore.settings import Connect, TableOptions
from statestore.storage.directory import StoreFile
from statestore.storage.opening import StoreOpener
from statestore.storage.spellings import KeySpellings
from statestore.storage.stored_window import stored_window
from statestore.tables.entity_reads import EntityReads
from statestore.tables.stream import Stream
from statestore.tables.table import BoundTable, BytesTable, Table, WindowTable


def _some_timestamp(_key: bytes) -> tuple[int, bytes]:
    """Return what stands for a record's timestamp, where only whether the record decodes is asked."""
    return 0, b""


class TableFactory:
    """Makes the tables and streams of one manager, each with its binding, and does not start them."""

    def __init__(
        self,
        opener: StoreOpener,
        writer: EntityWriter,
        codec_of: Callable[[EntityModel], EntityCodec[Any]],
        connect: Connect,
    ) -> None:
        self._opener = opener
        self._writer = writer
        self._codec_of = codec_of
        self._connect = connect

    def table(
        self,
        binder: Binder,
        logical: str,
        topic: str,
        model: EntityModel | None,
        options: TableOptions,
        on_close: Callable[[], None],
    ) -> tuple[BoundTable[Any], Binding]:
        """Return a table and its binding; with ``connect="eager"`` Kafka knows the topic then.

        Raises what the broker, the settings or the directory have against it.
        """
        self._opener.check_backend(options.backend)
        info = None
        if self._connect == "eager" and binder.owns:
            info = binder.source.topic_info(topic, binder.defaults.request_timeout)
        codec = None if model is None else self._codec_of(model)
        record_filter = None
        if codec is not None and options.on_undecodable != "raise":
            decode: Any = codec.decode
            if codec.fills_event_time:
                decode = partial(decode, read=_some_timestamp)
            record_filter = DecodingFilter(decode, skip=options.on_undecodable == "skip")
        spellings = None if codec is None else codec.spellings
        indexes = EntityIndexes(model) if model is not None and model.indexes else None
        mirror = self._mirror(binder, logical, topic, model, options, record_filter, spellings, indexes)

        def closed() -> None:
            self._writer.bound.pop(topic, None)
            self._writer.watch.remove(topic)
            on_close()

        binding = Binding(binder, mirror, options, closed)
        assert mirror.key_limit is not None

        scans = ScanPolicy(options.on_scan)
        bound = _bound_store(logical, options.backend, mirror, mirror.key_limit.longest, codec)
        if model is not None and codec is not None:  # not the table, which refers to the manager
            reads: EntityReads[Any] = EntityReads(binding, codec, scans)
            bound = replace(bound, cls=model.cls, record_of=lambda key: reads.get_record(*key))
        self._writer.bound[topic] = bound
        self._writer.watch.add(topic, binding.contact)
        if info is not None:
            binding.contact.found(info)
            binder.cluster_id = info.cluster_id
            self._writer.topic_exists(topic, info.partitions)
        if model is None or codec is None:
            return BytesTable(binding), binding
        if model.window is None:
            return Table(binding, codec, model.cls, self._writer, scans), binding
        binding.window = model.window.window.label
        return WindowTable(binding, codec, model.cls, self._writer, scans), binding

    def stream(
        self,
        binder: Binder,
        logical: str,
        model: EntityModel,
        options: TableOptions,
        check_open: Callable[[], None],
    ) -> Stream[Any]:
        """Return a stream; with ``connect="eager"`` Kafka knows its topic then."""
        source = binder.source
        if self._connect == "eager":
            source.topic_info(model.topic, source.request_timeout)
        skip = options.on_undecodable == "skip"
        return Stream(logical, model, self._codec_of(model), source, check_open, skip=skip)

    def _mirror(
        self,
        binder: Binder,
        logical: str,
        topic: str,
        model: EntityModel | None,
        options: TableOptions,
        record_filter: DecodingFilter | None,
        spellings: KeySpellings | None,
        indexes: EntityIndexes | None,
    ) -> Mirror:
        declared = model is not None and logical == model.logical_name
        physical = model.physical_name if model and declared else physical_name(logical)
        serialisation = "bytes" if model is None else model.serialisation
        schema = None if model is None else model.stored_schema
        window = None if model is None else model.window
        wanted = StoreFile(
            logical,
            options.backend,
            "timestamped",
            serialisation,
            topic=topic,
            schema=schema,
            entity=None if model is None else model.cls.__name__,
        )
        if window is not None:
            size = None if window.window.is_session else window.window.size
            kept = stored_window(size, window.retention)
            wanted = replace(wanted, label=window.window.label, window=kept)
        storage = self._opener.mirror(wanted, physical, options, spellings, indexes, window)
        self._opener.claim(logical, physical)
        # Where the ends are is known to within two questions, and the fetch that follows the second.
        grace = 2 * binder.defaults.confirm_interval + 1
        key_limit = LongKeys(
            logical, options.backend, storage.max_key_size, skip=options.on_long_key == "skip"
        )
        return Mirror(logical, topic, storage, grace, record_filter, key_limit)


def _bound_store(
    logical: str, backend: str, mirror: Mirror, longest_key: int, codec: EntityCodec[Any] | None
) -> BoundStore:
    """Return what those who write to the topic of ``mirror`` see of its store."""

    def keys_of(values: tuple[Any, ...]) -> Sequence[bytes]:
        if codec is None or (store := mirror.store) is None:
            return ()
        with contextlib.suppress(StoreClosedError):
            return stored_keys(store, codec, values)
        return ()

    def contradicts(partitioner: int) -> int | None:
        if (store := mirror.store) is None:
            return None
        with contextlib.suppress(StateStoreError):  # a store that cannot be read says nothing
            return store.contradicts(partitioner)
        return None

    return BoundStore(logical, backend, longest_key, keys_of, contradicts=contradicts)
