"""Frames that stand for all."""

from __future__ import annotations

import pytest

from diffnerf_ns.even_spread import evenly_spread


@pytest.mark.parametrize(
    ("available", "wanted", "indices"),
    [(5, 3, [0, 2, 4]), (40, 4, [0, 13, 26, 39]), (5, 5, [0, 1, 2, 3, 4]), (2, 9, [0, 1]), (5, 1, [0]), (0, 3, [])],
)
def test_indices_are_spread_from_the_first_to_the_last(available: int, wanted: int, indices: list[int]) -> None:
    assert evenly_spread(available, wanted) == indices


def test_no_index_is_given_twice() -> None:
    for available in range(60):
        for wanted in range(60):
            assert len(set(evenly_spread(available, wanted))) == min(available, wanted)
