"""Conformance: what outlives a close, a checkpoint, a compaction (*Atomicity* and the maintenance calls)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from statestore.backends.contract import Backend, Batch, Engine, StoreOptions
from statestore.errors import StoreClosedError
from statestore.testing.conformance.tally import keeps

CONTENT = {b"%03d" % number: b"v%d" % number for number in range(300)}


class DurabilityTests:
    @pytest.mark.parametrize("changelog", [False, True])
    def test_what_was_flushed_is_there_after_a_reopen(
        self, engine: Engine, directory: Path, changelog: bool
    ) -> None:
        with engine.open(directory, StoreOptions(changelog=changelog)) as backend:
            backend.write(Batch([*CONTENT.items(), (b"empty", b""), (b"gone", b"1")]))
            backend.write(Batch([(b"000", b"again")], [b"001", b"gone"]))
            backend.flush()
        expected = CONTENT | {b"000": b"again", b"empty": b""}
        del expected[b"001"]
        for _ in range(2):
            with engine.open(directory, StoreOptions(changelog=changelog)) as backend:
                assert dict(backend.scan()) == (expected if keeps(engine) else {})

    def test_what_was_written_without_a_changelog_is_there_after_a_reopen(
        self, engine: Engine, directory: Path
    ) -> None:
        """Without a changelog, what was written is there after a reopen."""
        with engine.open(directory, StoreOptions()) as backend:
            for number in range(20):
                backend.write(
                    Batch([(b"k%d" % number, b"1"), (b"last", b"%d" % number)], [b"k%d" % (number - 1)])
                )
        with engine.open(directory, StoreOptions()) as backend:
            expected = {b"k19": b"1", b"last": b"19"} if keeps(engine) else {}
            assert dict(backend.scan()) == expected

    def test_what_was_not_flushed_with_a_changelog_is_lost_from_the_end_only(
        self, engine: Engine, directory: Path
    ) -> None:
        """With a changelog, what was not flushed is lost from the end only."""
        states: list[dict[bytes, bytes]] = [{}]
        with engine.open(directory, StoreOptions(changelog=True)) as backend:
            for number in range(20):
                backend.write(Batch([(b"%02d" % number, b"1"), (b"last", b"%d" % number)]))
                states.append(dict(backend.scan()))
                if number == 9:
                    backend.flush()
        with engine.open(directory, StoreOptions(changelog=True)) as backend:
            content = dict(backend.scan())
        if keeps(engine):
            assert content in states[10:]
        else:
            assert content == {}

    @pytest.mark.parametrize("changelog", [False, True])
    def test_a_checkpoint_is_a_store_of_its_own(
        self, engine: Engine, directory: Path, tmp_path: Path, changelog: bool
    ) -> None:
        copy = tmp_path / "copy"
        with engine.open(directory, StoreOptions(changelog=changelog)) as backend:
            backend.write(Batch(list(CONTENT.items())))
            if not keeps(engine):
                with pytest.raises(NotImplementedError):
                    backend.checkpoint(copy)
                assert not copy.exists()
                return
            scan = backend.scan()
            next(scan)
            backend.checkpoint(copy)
            backend.write(Batch([(b"000", b"after")], [b"001"]))
            assert len(list(scan)) == len(CONTENT) - 1
            with engine.open(copy, StoreOptions(changelog=changelog)) as copied:
                assert dict(copied.scan()) == CONTENT
                copied.write(Batch([(b"copy", b"1")]))
                copied.flush()
                assert backend.get_many([b"000", b"001", b"copy"]) == [b"after", None, None]
            backend.destroy()
        with engine.open(copy, StoreOptions(changelog=changelog)) as copied:
            assert dict(copied.scan()) == CONTENT | {b"copy": b"1"}

    def test_a_checkpoint_never_writes_over_anything(
        self, engine: Engine, backend: Backend, tmp_path: Path
    ) -> None:
        backend.write(Batch(list(CONTENT.items())))
        taken = tmp_path / "taken"
        taken.mkdir()
        with pytest.raises(FileExistsError if keeps(engine) else NotImplementedError):
            backend.checkpoint(taken)
        assert list(taken.iterdir()) == []
        assert dict(backend.scan()) == CONTENT

    def test_compaction_keeps_the_content(self, engine: Engine, directory: Path) -> None:
        with engine.open(directory, StoreOptions(changelog=True)) as backend:
            backend.write(Batch(list(CONTENT.items())))
            backend.flush()
            backend.write(Batch([(b"000", b"after"), (b"empty", b"")], [b"001"]))
            backend.compact()
            expected = CONTENT | {b"000": b"after", b"empty": b""}
            del expected[b"001"]
            assert dict(backend.scan()) == expected
            assert backend.get_many([b"000", b"001", b"empty"]) == [b"after", None, b""]
            backend.write(Batch([(b"later", b"1")]))
            backend.flush()
        with engine.open(directory, StoreOptions(changelog=True)) as backend:
            assert dict(backend.scan()) == (expected | {b"later": b"1"} if engine.persistent else {})

    def test_flush_and_compaction_of_an_empty_store(self, backend: Backend) -> None:
        """An empty store can be flushed and compacted."""
        backend.flush()
        backend.compact()
        assert list(backend.scan()) == []

    def test_size_grows_with_the_content_and_compaction_gives_it_back(self, backend: Backend) -> None:
        assert backend.size() >= 0
        noise = random.Random(7)  # incompressible, and the same in every run
        content = {b"%04d" % number: noise.randbytes(2048) for number in range(2048)}  # 4 MiB
        backend.write(Batch(list(content.items())))
        backend.flush()
        full = backend.size()
        assert full >= 4 << 20
        backend.write(Batch([], list(content)))
        backend.flush()
        backend.compact()
        assert backend.size() < full / 2
        assert list(backend.scan()) == []

    def test_approximate_count_is_a_count(self, backend: Backend) -> None:
        assert backend.approximate_count() >= 0
        backend.write(Batch(list(CONTENT.items())))
        backend.flush()
        assert 1 <= backend.approximate_count() <= 10 * len(CONTENT)
        backend.write(Batch([], [*CONTENT, *(b"absent%d" % number for number in range(1000))]))
        backend.write(Batch([], list(CONTENT)))
        assert backend.approximate_count() >= 0

    def test_a_closed_store_can_be_opened_with_and_without_a_changelog(
        self, engine: Engine, directory: Path
    ) -> None:
        for changelog in (True, False, True):
            with engine.open(directory, StoreOptions(changelog=changelog)) as backend:
                backend.write(Batch([(b"k", b"1")]))
                backend.flush()
                assert dict(backend.scan()) == {b"k": b"1"}
            with pytest.raises(StoreClosedError):
                backend.get(b"k")
