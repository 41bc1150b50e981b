"""Bulk loading: sorted files are built beside the database, and it takes them over in one step.

Each run goes into a file of its own, so that a run of new keys after all others needs no merging. All files
are ingested in one call: a position is never there without its data, nor data without its position.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rocksdict import IngestExternalFileOptions, Options, Rdict, SstFileWriter

from statestore.backends.contract import SortedRun, sync

FOLDER = "loading"
"""The directory, in that of the database, of files that are being built."""
_LARGE = 1 << 20
"""Bytes of a file from which it is synced before it is finished."""


def remove_remnants(directory: Path) -> None:
    """Delete what a load left that was killed; the database must be open here, or another may be loading."""
    if (directory / FOLDER).exists():
        shutil.rmtree(directory / FOLDER)


@contextmanager
def folder(directory: Path) -> Iterator[Path]:
    """Make the directory for the files of one load, and delete it with what is left of them."""
    place = directory / FOLDER
    remove_remnants(directory)
    place.mkdir(mode=0o700)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def build(place: Path, options: Options, runs: Sequence[SortedRun]) -> list[str]:
    """Return the files of ``runs``, none for an empty one."""
    files = []
    for number, run in enumerate(runs):
        if len(run):
            file = str(place / f"{number}.sst")
            writer = SstFileWriter(options)
            writer.open(file)
            run.feed(writer.__setitem__, writer.__delitem__)
            if Path(file).stat().st_size >= _LARGE:
                sync(Path(file))  # most of it, with other threads running, which finish() would not let
            writer.finish()
            files.append(file)
    return files


def ingest(database: Rdict, files: list[str]) -> None:
    """Make the content of ``files`` that of ``database``, as one unit; they are moved."""
    options = IngestExternalFileOptions()
    options.set_move_files(True)
    database.ingest_external_file(files, options)
