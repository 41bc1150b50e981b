"""How long the rows of a table live: its own ``ttl``, and what the topic's configuration says.

A topic whose ``cleanup.policy`` has "delete" loses records by their age, and no tombstone tells of it: a
mirror that has them keeps them, and a later one never gets them. So their rows end when the topic may delete
their records, and all mirrors agree. What cannot be known by a record's age alone is warned of.
"""

from __future__ import annotations

import logging

from statestore.kafka.answers import TopicState
from statestore.settings import TableOptions
from statestore.storage.changelog_store import ChangelogStore
from statestore.storage.directory import StoreDirectory

log = logging.getLogger("statestore.changelog")


class TopicRetention:
    """See the module. It is kept in ``store.json``, so that it holds while the broker is away, too."""

    def __init__(self, name: str, topic: str, options: TableOptions) -> None:
        self._name = name
        self._topic = topic
        self._options = options
        self._warned: set[str] = set()
        self.topic_ms: int | None = None
        """For how long the topic keeps a record; ``None``: for ever, or unknown."""

    @property
    def row_life(self) -> float | None:
        """Seconds after its record's timestamp at which a row ends; ``None``: never."""
        lives = [self._options.ttl, None if self.topic_ms is None else self.topic_ms / 1000]
        return min((life for life in lives if life is not None), default=None)

    @property
    def decides(self) -> bool:
        """Whether it is the topic's retention that ends rows, and not the table's own ``ttl``."""
        return self.row_life != self._options.ttl

    def opening(self, directory: StoreDirectory | None) -> None:
        """A store in ``directory`` is opened next: take over what it knows, and have it know the same."""
        if directory is not None:
            if self.topic_ms is None:
                self.topic_ms = directory.file.retention_ms
            self._keep(directory)

    def learn(
        self, found: TopicState, store: ChangelogStore | None, directory: StoreDirectory | None
    ) -> str | None:
        """Take the broker's answer about the topic.

        Returns why the store must be rebuilt, if it must: rows that ended are gone from it, and a topic that
        keeps records for longer than before may have them still.
        """
        self._warn_of_the_unknown(found)
        if found.cleanup_policy is None:
            return None
        kept = found.retention_ms if found.deletes and found.retention_ms not in (None, -1) else None
        if kept == self.topic_ms:
            return None
        life_before = self.row_life
        self.topic_ms = kept
        life = self.row_life
        text = "do not end any more" if life is None else f"end {life:g} s after their records' timestamps"
        log.info("table %r: rows %s: retention.ms of topic %s", self._name, text, self._topic)
        longer = life_before is not None and (life is None or life > life_before)
        lost = None
        if longer and self._options.on_missing == "rebuild":
            lost = "the topic keeps records for longer than before: rows that ended may be in it still"
        elif longer:
            log.warning(
                "table %r: topic %s keeps records for longer than before; rows that ended earlier may be in "
                "it still, and are not in the store: rebuild it to have them",
                self._name,
                self._topic,
            )
        if store is not None:
            store.end_rows_after(life)
        if lost is None and directory is not None:  # else it is kept in the new store: a kill may come first
            self._keep(directory)
        return lost

    def _keep(self, directory: StoreDirectory) -> None:
        if directory.file.retention_ms != self.topic_ms:
            directory.update(retention_ms=self.topic_ms)

    def _warn_of_the_unknown(self, found: TopicState) -> None:
        if found.config_error is not None:
            self._warn(
                f"the broker does not tell the configuration of topic {self._topic} ({found.config_error}): "
                "if its cleanup.policy has delete, the store keeps rows whose records Kafka has deleted; "
                "grant the client DescribeConfigs on the topic, or set ttl to the topic's retention"
            )
        if found.deletes and found.retention_bytes not in (None, -1):
            self._warn(
                f"topic {self._topic} deletes records beyond retention.bytes={found.retention_bytes}: the "
                "store keeps their rows, and a store that is made later does not get them; set "
                "retention.bytes=-1 on the topic"
            )

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning("table %r: %s", self._name, text)
