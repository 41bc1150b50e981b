"""Futures that hand on a result or an error, and waiting for several without a thread."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from statestore.runtime.futures import complete, when_all_done


def test_a_future_gets_the_result_or_the_error() -> None:
    done: Future[int] = Future()
    complete(done, lambda: 3)
    assert done.result(0) == 3
    failed: Future[int] = Future()
    complete(failed, lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        failed.result(0)


def test_what_follows_is_called_once_when_the_last_one_is_done() -> None:
    futures: list[Future[int]] = [Future() for _ in range(3)]
    futures[0].set_result(0)
    called: list[bool] = []
    when_all_done(futures, lambda: called.append(True))
    futures[2].set_exception(ValueError())
    assert called == []
    futures[1].set_result(1)
    assert called == [True]
