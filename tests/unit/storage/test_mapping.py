"""A bytes store as a mapping, on every backend: each method is atomic, each iteration shows one moment."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from statestore.errors import EncodeError
from statestore.manager import StoreManager
from statestore.storage.store import KeyValueStore


@pytest.fixture(params=["memory", "rocksdb", "lmdb"])
def kv(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValueStore]:
    with StoreManager(tmp_path / "state", backend=request.param) as manager:
        yield manager.open("rows")


def fill(kv: KeyValueStore, count: int) -> dict[bytes, bytes]:
    content = {b"%05d" % number: b"v%d" % number for number in range(count)}
    kv.update(content)
    return content


@pytest.mark.parametrize("name", ["__iter__", "__reversed__", "items", "values", "keys"])
def test_an_iteration_shows_one_moment(kv: KeyValueStore, name: str) -> None:
    wanted = list(getattr(fill(kv, 1500), name)())
    found = iter(getattr(kv, name)())
    first = next(found)
    kv.clear()
    kv.put(b"later", b"")
    assert [first, *found] == wanted
    assert len(list(getattr(kv, name)())) == 1


def test_views_are_those_of_a_mapping(kv: KeyValueStore) -> None:
    kv.update([(b"b", b"2"), (b"a", b"1")])
    assert list(kv.items()) == [(b"a", b"1"), (b"b", b"2")]
    assert list(reversed(kv.items())) == [(b"b", b"2"), (b"a", b"1")]
    assert list(reversed(kv.values())) == [b"2", b"1"]
    assert list(reversed(kv.keys())) == list(reversed(kv)) == [b"b", b"a"]
    assert (b"a", b"1") in kv.items()
    assert (b"a", b"2") not in kv.items()
    assert b"2" in kv.values()
    assert b"3" not in kv.values()
    assert kv.keys() & {b"a", b"x"} == {b"a"}
    assert (len(kv.items()), len(kv.values()), len(kv.keys())) == (2, 2, 2)


def test_methods_of_a_mapping(kv: KeyValueStore) -> None:
    kv[b"a"] = b"1"
    assert kv.setdefault(b"a", b"2") == b"1"
    assert kv.setdefault(b"b", b"2") == b"2"
    assert kv.popitem() == (b"b", b"2")
    assert kv.pop(b"a") == b"1"
    assert kv.pop(b"a", None) is None
    assert kv.pop(b"a", default=b"d") == b"d"
    with pytest.raises(KeyError):
        kv.popitem()
    with pytest.raises(KeyError):
        kv.pop(b"a")
    with pytest.raises(TypeError, match="None cannot be stored"):
        kv.setdefault(b"a")
    kv[b""] = b""
    assert kv.setdefault(b"", b"x") == b""  # an empty value is not an absent one
    assert kv.pop(b"") == b""


def test_an_update_is_all_or_nothing(kv: KeyValueStore) -> None:
    too_long = b"k" * 70_000
    wrong: Any
    for wrong, error in (
        ({b"a": b"1", too_long: b"1"}, EncodeError),
        ([(b"a", b"1"), (b"b", None)], TypeError),
        ([(b"a", b"1"), ("b", b"1")], TypeError),
    ):
        with pytest.raises(error):
            kv.update(wrong)
        assert kv.count() == 0


def threads(count: int, call: Callable[[], None]) -> None:
    running = [threading.Thread(target=call) for _ in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def test_each_row_is_taken_once(kv: KeyValueStore) -> None:
    fill(kv, 800)
    taken: list[bytes] = []

    def take() -> None:
        while (found := kv.pop(b"%05d" % (len(taken) % 800), None)) is not None:
            taken.append(found)
        while True:
            try:
                taken.append(kv.popitem()[1])
            except KeyError:
                return

    threads(4, take)
    assert (len(taken), len(set(taken)), kv.count()) == (800, 800, 0)


def test_a_default_is_set_once(kv: KeyValueStore) -> None:
    given: list[bytes] = []

    def count_up() -> None:
        name = b"%d" % threading.get_ident()
        given.extend(kv.setdefault(b"%d" % number, name) for number in range(100))

    threads(4, count_up)
    assert sorted(given) == sorted(4 * list(kv.values()))


def test_a_put_beside_a_pop_is_never_lost(kv: KeyValueStore) -> None:
    popped: list[bytes] = []
    done = threading.Event()

    def pop() -> None:
        while not done.is_set():
            if (value := kv.pop(b"k", None)) is not None:
                popped.append(value)

    thread = threading.Thread(target=pop)
    thread.start()
    last = b""
    for number in range(300):
        last = b"%d" % number
        kv.put(b"k", last)
    done.set()
    thread.join()
    if (left := kv.get(b"k")) is not None:
        popped.append(left)
    assert popped[-1] == last
    assert popped == sorted(set(popped), key=int)


@pytest.mark.parametrize("key", ["k", 5, None, ("a",)], ids=repr)
def test_what_a_key_is(kv: KeyValueStore, key: Any) -> None:
    for call in (
        kv.get,
        kv.delete,
        kv.pop,
        kv.__getitem__,
        kv.__delitem__,
        lambda key: kv.put(key, b""),
        lambda key: kv.setdefault(key, b""),
        lambda key: kv.get_many([key]),
        lambda key: kv.update({key: b""}),
    ):
        with pytest.raises(TypeError, match=r"a key must be bytes, not (str|int|NoneType|tuple): .*"):
            call(key)
    assert key not in kv


def test_text_is_encoded_by_who_gives_it(kv: KeyValueStore) -> None:
    with pytest.raises(TypeError, match="encode it"):
        kv.get("k")  # type: ignore[call-overload]


def test_a_batch_serves_one_block(kv: KeyValueStore) -> None:
    batch = kv.batch()
    for use in (partial(batch.put, b"a", b"0"), partial(batch.delete, b"a")):
        with pytest.raises(RuntimeError, match="outside of `with`"):
            use()
    with batch:
        batch.put(b"a", b"1")
        with pytest.raises(RuntimeError, match="one `with` block"):
            batch.__enter__()
    for use in (partial(batch.put, b"a", b"2"), partial(batch.delete, b"a")):
        with pytest.raises(RuntimeError, match="after its `with` block"):
            use()
    kv.put(b"a", b"3")
    with pytest.raises(RuntimeError, match="one `with` block"), batch:
        pass
    assert dict(kv) == {b"a": b"3"}


def test_a_batch_whose_block_raised_is_over_too(kv: KeyValueStore) -> None:
    batch = kv.batch()
    with pytest.raises(ZeroDivisionError), batch:
        batch.put(b"a", b"1")
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="after its `with` block"):
        batch.put(b"a", b"1")
    with pytest.raises(RuntimeError, match="one `with` block"), batch:
        pass
    assert kv.count() == 0
