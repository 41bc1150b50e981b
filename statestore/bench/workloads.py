"""What is done to a store while it is measured: each workload says it in one line.

A to F are the core workloads of YCSB (Cooper et al., SoCC 2010, table 2), with its mixes and distributions.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from statestore.bench.candidates import Abilities, StoreName
from statestore.bench.entities import CONTENT, ENTITIES, MOST, EntityGround, reading
from statestore.bench.operations import (
    YCSB,
    Mix,
    RecordGround,
    absent,
    batches,
    deletes,
    full_scans,
    hold_snapshot,
    loading,
    put_back,
    reopens,
)
from statestore.bench.restoring import RestoreGround, restores
from statestore.bench.topics import RESTORED
from statestore.bench.windows import CHUNK, WindowGround, fetches, puts
from statestore.bench.workload import LOAD_BATCH, Ground, Site, Workload, needs
from statestore.errors import ConfigError

_SCANS = needs(ordered=True)

WORKLOADS: dict[str, Workload] = {
    one.name: one
    for one in (
        Workload(
            "load-order",
            "write every record once, in the order of the keys, in batches of 1,000",
            loading(shuffled=False),
            chunk=16,
            keys=LOAD_BATCH,
            threads=False,
            once=True,
        ),
        Workload(
            "load-random",
            "write every record once, in random order, in batches of 1,000",
            loading(shuffled=True),
            chunk=16,
            keys=LOAD_BATCH,
            threads=False,
            once=True,
        ),
        Workload(
            "ycsb-a", "YCSB A, update heavy: 50 % reads, 50 % updates, zipfian: a session store", YCSB["a"]
        ),
        Workload("ycsb-b", "YCSB B, read mostly: 95 % reads, 5 % updates, zipfian: photo tags", YCSB["b"]),
        Workload("ycsb-c", "YCSB C, read only: 100 % reads, zipfian: a cache of profiles", YCSB["c"]),
        Workload(
            "ycsb-f",
            "YCSB F, read-modify-write: 50 % reads, 50 % read-modify-writes, zipfian: a user database",
            YCSB["f"],
        ),
        Workload(
            "ycsb-d", "YCSB D, read latest: 95 % reads of what is new, 5 % inserts: status updates", YCSB["d"]
        ),
        Workload(
            "ycsb-e",
            "YCSB E, short ranges: 95 % scans of 1 to 100 pairs, 5 % inserts, zipfian: threads of messages",
            YCSB["e"],
            needs=_SCANS,
            chunk=256,
        ),
        Workload(
            "read-uniform", "point reads, each record as likely as the others", Mix("uniform", read=1.0)
        ),
        Workload("read-zipf", "point reads, few records get most of them", Mix("zipfian", read=1.0)),
        Workload("read-hot", "point reads of one record in a hundred", Mix("hot", read=1.0)),
        Workload("read-absent", "point reads of keys that are not there", absent),
        Workload("update", "overwrite records, each as likely as the others", Mix("uniform", update=1.0)),
        Workload("rmw", "read a record and write it back, uniform", Mix("uniform", modify=1.0)),
        Workload("mixed", "80 % reads, 15 % updates, 5 % inserts, zipfian", Mix("zipfian", 0.8, 0.15, 0.05)),
        Workload(
            "scan-short", "scans of 1 to 100 pairs, uniform", Mix("uniform", scan=1.0), _SCANS, chunk=256
        ),
        Workload("scan-full", "scans of the whole store", full_scans, chunk=1, keys=0),
        Workload("batch-1", "batches of one write, uniform", batches(1), chunk=512),
        Workload("batch-100", "batches of 100 writes, uniform", batches(100), chunk=16, keys=100),
        Workload("batch-10000", "batches of 10,000 writes, uniform", batches(10_000), chunk=1, keys=10_000),
        Workload(
            "snapshot",
            "overwrite records, uniform, while a snapshot from before is held open",
            Mix("uniform", update=1.0),
            needs=needs(snapshots=True),
            hold=hold_snapshot,
        ),
        Workload(
            "delete",
            "delete records in random order; they are put back afterwards",
            deletes,
            threads=False,
            mend=put_back,
        ),
        Workload(
            "reopen",
            "close the store, open it, read one record",
            reopens,
            needs=needs(files=True),
            chunk=1,
            threads=False,
        ),
        Workload(
            "restore",
            "read a topic of all records into an empty store, from opening it to the last record",
            restores,
            chunk=1,
            keys=0,
            unit="records",
            threads=False,
            cold=True,
            store="restored",
            topic=RESTORED,
        ),
        Workload(
            "window-put",
            "put rows of windows by time, each key's next one; the store keeps 96 windows of each key",
            puts,
            needs=_SCANS,
            chunk=CHUNK,
            store="windows",
        ),
        Workload(
            "window-fetch",
            "fetch 24 windows of one key in the order of their starts, uniform",
            fetches,
            needs=_SCANS,
            chunk=256,
            store="windows",
        ),
        *(
            Workload(
                name,
                f"read entities of {CONTENT[value_format]} by key, uniform, from a table of up to {MOST:,}",
                reading(value_format),
                store="entities",
                topic=name,
                module="fastavro" if value_format == "avro" else None,
            )
            for name, value_format in ENTITIES.items()
        ),
    )
}
"""By name, in the order in which they are run: what inserts comes late, as the authors of YCSB advise."""

GROUPS: dict[str, tuple[str, ...]] = {
    "ycsb": tuple(name for name in WORKLOADS if name.startswith("ycsb-")),
    "load": ("load-order", "load-random"),
    "read": tuple(name for name in WORKLOADS if name.startswith("read-")),
    "scan": ("scan-short", "scan-full"),
    "batch": tuple(name for name in WORKLOADS if name.startswith("batch-")),
    "window": ("window-put", "window-fetch"),
    "entity": tuple(ENTITIES),
    "all": tuple(WORKLOADS),
}
"""Names for several at once."""

LOADS = GROUPS["load"]

GROUNDS: dict[StoreName, Callable[[Site], Ground]] = {
    "records": RecordGround,
    "restored": RestoreGround,
    "windows": WindowGround,
    "entities": EntityGround,
}
"""What the workloads of each store are given."""


def chosen(names: str) -> tuple[Workload, ...]:
    """Return the workloads of a list of names and groups, in the order in which they are run.

    Where some work on the store of records, a load comes first. Each load fills a new store; the others run
    on that of the last one. Raises ``ConfigError`` for a name that is neither.
    """
    wanted: set[str] = set()
    for name in filter(None, (one.strip() for one in names.split(","))):
        if name not in WORKLOADS and name not in GROUPS:
            raise ConfigError(
                f"--workload {name}: no workload has this name; there are {', '.join(WORKLOADS)}, "
                f"and the groups {', '.join(GROUPS)}"
            )
        wanted.update(GROUPS.get(name, (name,)))
    if not wanted:
        raise ConfigError("--workload names no workload; give one, such as ycsb-a, or a group, such as ycsb")
    found = [one for one in WORKLOADS.values() if one.name in wanted]
    if found[0].name not in LOADS and found[0].store == "records":
        return (WORKLOADS["load-random"], *found)
    return tuple(found)


def lacking(workload: Workload, abilities: Abilities) -> str | None:
    """Return what a candidate lacks for ``workload``, ``None`` where it lacks nothing."""
    if workload.module is not None and find_spec(workload.module) is None:
        return f"{workload.module} is not installed: pip install 'statestore[avro]'"
    words = {
        "ordered": "no scans in the order of the keys",
        "snapshots": "no snapshots",
        "files": "no files",
        "atomic": "no atomic batches",
        "threads": "not for several threads",
    }
    for ability, lack in words.items():
        if getattr(workload.needs, ability) and not getattr(abilities, ability):
            return lack
    return None
