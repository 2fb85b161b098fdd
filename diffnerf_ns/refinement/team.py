"""Processes that fill one cache together: who refines what, and how all of them end when one fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist

PATIENCE = timedelta(days=7)
"""Longest time that a process waits for the others; one that dies is noticed at once."""


class OtherProcessFailedError(RuntimeError):
    """Stage 1 ended in another process, so that it cannot go on in this one."""


@dataclass(frozen=True)
class Team:
    """This process among those that fill a cache together; alone by default.

    They talk over a group of their own: refining may take longer than trainings wait for each other.
    """

    group: dist.ProcessGroup | None = None
    """Connects the processes; None where there is one."""
    splits: bool = False
    """Whether frames are split over the processes; otherwise some refine all that they miss, and others wait."""
    refines: bool = True
    """Whether this process refines at all."""

    def share(self, todo: Sequence[int]) -> list[int]:
        """Which of the frames that are to be refined this process refines.

        Args:
            todo: frames to refine, those next to each other that belong together; the first process's holds for all.
        """
        if not self.refines:
            return []
        if self.group is None or not self.splits:
            return list(todo)
        everyones: list[list[int]] = [[]] * dist.get_world_size(self.group)
        with _explained():
            dist.all_gather_object(everyones, list(todo), group=self.group)
        common, rank, size = everyones[0], dist.get_rank(self.group), len(everyones)
        return common[len(common) * rank // size : len(common) * (rank + 1) // size]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Leaves when all processes are through, or raises if one of them failed."""
        try:
            yield
        except Exception as error:
            if not self.splits:  # the others wait already; where they do not, they notice that this process ends
                self._exchange(f"{type(error).__name__}: {error}")
            raise
        if failures := [failure for failure in self._exchange(None) if failure is not None]:
            raise OtherProcessFailedError(f"depth was not refined, as another process failed: {failures[0]}")

    def _exchange(self, failure: str | None) -> list[str | None]:
        if self.group is None:
            return [failure]
        everyones: list[str | None] = [None] * dist.get_world_size(self.group)
        with _explained():
            dist.all_gather_object(everyones, failure, group=self.group)
        return everyones


def team_that_waits(local_rank: int) -> Team:
    """For trainings on several devices: the first process of each machine refines, the others wait."""
    return Team(_group(), refines=local_rank == 0)


def team_that_splits() -> Team:
    """All processes refine, each its share."""
    return Team(_group(), splits=True)


def _group() -> dist.ProcessGroup | None:
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return None
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(group, dist.ProcessGroup)
    return group


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise OtherProcessFailedError("another process ended while depth was refined: see what it says") from error
