"""Why a topic does not continue the store that was made from it, in words."""

from __future__ import annotations

from collections.abc import Mapping


class OtherLog(str):
    """Why a position is lost, where the records applied last may be of another log, of a new topic say."""

    __slots__ = ()


def another_topic() -> OtherLog:
    """The topic's id is not the store's."""
    return OtherLog("the topic was deleted and created again: it has another id")


def past_end() -> OtherLog:
    """The log ends below a position."""
    return OtherLog("the stored position is past the end of the topic: the topic was truncated or re-created")


def deleted(partition: int, start: int, position: int) -> OtherLog:
    """The log starts past a position."""
    return OtherLog(
        f"partition {partition} now starts at offset {start}, but the stored position is {position}: "
        f"records {position} to {start - 1} were deleted"
    )


def cut_off(partition: int, position: int, told: str) -> OtherLog:
    """The log does not have the last record that was read, as the broker ``told``."""
    return OtherLog(
        f"partition {partition}: the log was cut off before the stored position {position}, and others took "
        f"the offsets of the records that were lost: {told}"
    )


def not_in_log(where: str, position: int, told: str) -> OtherLog:
    """The reader stands where the log has nothing, as the broker ``told``."""
    return OtherLog(f"{where}: position {position} is not in the log any more: {told}")


def earlier_epoch(partition: int, known: int, found: int) -> str:
    """Records have an earlier leader epoch than those before them."""
    return f"partition {partition}: the leader epoch of its records went back from {known} to {found}"


def grown(old: int | None, new: int | None) -> str:
    """The topic has another number of partitions."""
    return f"the topic has {new} partitions, but the store was made from {old}: keys have moved between them"


def tombstones_gone(ages: Mapping[int, float], retention_ms: int | None) -> str | None:
    """Tell whether a partition was last at its end more seconds ago than the topic keeps tombstones."""
    for number, seconds in ages.items():
        if retention_ms is not None and seconds > 0 and seconds * 1000 > retention_ms:
            return (
                f"partition {number} was last known to be at its end {seconds:.1f} s before, longer than "
                f"the topic's delete.retention.ms of {retention_ms / 1000:g} s: tombstones may be gone"
            )
    return None
