"""Pieces of work side by side: in order, with a share of torch's threads each, and nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from diffnerf_ns.refinement.one_thread_each import OneThreadEach


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_their_inputs() -> None:
    def slow_at_first(number: int) -> list[int]:
        time.sleep(0.05 if number == 0 else 0.0)
        return [number, -number]

    with OneThreadEach(3) as threads:
        assert list(threads.map(slow_at_first, range(1, 5))) == [1, -1, 2, -2, 3, -3, 4, -4]
        assert list(threads.map(slow_at_first, [0, 7])) == [0, 0, 7, -7]


@pytest.mark.parametrize(("count", "share"), [(1, 4), (2, 2), (3, 1), (8, 1)])
def test_each_has_its_share_of_the_threads_and_then_all_is_as_before(count: int, share: int) -> None:
    with OneThreadEach(count) as threads:
        assert set(threads.map(lambda _: [torch.get_num_threads()], range(6))) == {share}
    assert torch.get_num_threads() == 4
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [4]


def test_pieces_are_worked_on_at_once() -> None:
    together = threading.Barrier(2, timeout=20)
    with OneThreadEach(2) as threads:
        assert sorted(threads.map(lambda one: [together.wait() * 0 + one], range(2))) == [0, 1]


def test_inputs_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def inputs() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with OneThreadEach(2) as threads:
        results = threads.map(lambda one: [one], inputs())
        assert next(results) == 0
    assert len(taken) <= 3


def test_an_error_is_raised_where_its_result_would_have_been() -> None:
    def fails(number: int) -> list[float]:
        return [1 / number]

    with OneThreadEach(2) as threads:
        results = threads.map(fails, [1, 0, 2])
        assert next(results) == 1.0
        with pytest.raises(ZeroDivisionError):
            next(results)
