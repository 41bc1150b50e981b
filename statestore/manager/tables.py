"""How a manager makes tables and streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from statestore.changelog.binder import Binder
from statestore.changelog.binding import Binding
from statestore.changelog.mirror import Mirror
from statestore.changelog.undecodable import DecodingFilter
from statestore.entity import EntityModel
from statestore.naming import physical_name
from statestore.producing.writer import EntityWriter
from statestore.serde.entities import EntityCodec
from statestore.settings import Connect, TableOptions
from statestore.storage.directory import StoreFile
from statestore.storage.opening import StoreOpener
from statestore.tables.stream import Stream
from statestore.tables.table import BoundTable, BytesTable, Table


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
        if self._connect == "eager":
            info = binder.source.topic_info(topic, binder.defaults.request_timeout)
        codec = None if model is None else self._codec_of(model)
        record_filter = None
        if codec is not None and options.on_undecodable != "raise":
            record_filter = DecodingFilter(codec.decode, skip=options.on_undecodable == "skip")
        mirror = self._mirror(binder, logical, topic, model, options, record_filter)
        binding = Binding(binder, mirror, options, on_close)
        if info is not None:
            binding.found(info.partitions)
            binder.cluster_id = info.cluster_id
            self._writer.topic_exists(topic)
        if model is None or codec is None:
            return BytesTable(binding), binding
        return Table(binding, codec, model.cls, self._writer), binding

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
    ) -> Mirror:
        declared = model is not None and logical == model.logical_name
        physical = model.physical_name if model and declared else physical_name(logical)
        serialisation = "bytes" if model is None else model.serialisation
        schema = None if model is None else model.stored_schema
        wanted = StoreFile(logical, options.backend, "timestamped", serialisation, topic=topic, schema=schema)
        storage = self._opener.mirror(wanted, physical, options)
        self._opener.claim(logical, physical)
        # Where the ends are is known to within two questions, and the fetch that follows the second.
        grace = 2 * binder.defaults.confirm_interval + 1
        return Mirror(logical, topic, storage, grace, record_filter)
