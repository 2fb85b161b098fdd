"""Refiners by their names."""

from __future__ import annotations

import pytest

from diffnerf_ns.refinement.hole_filter import HoleFilter
from diffnerf_ns.refinement.stage import RefinerNotFoundError, load_refiner


def test_refiners_are_found_by_name_and_by_dotted_path() -> None:
    assert isinstance(load_refiner("hole-filter"), HoleFilter)
    assert isinstance(load_refiner("diffnerf_ns.refinement.hole_filter.HoleFilter"), HoleFilter)
    assert isinstance(load_refiner("diffnerf_ns.refinement.hole_filter:HoleFilter"), HoleFilter)


@pytest.mark.parametrize("model", ["nothing", "no.such.Module", "diffnerf_ns.refinement.hole_filter.Nobody", "", "."])
def test_a_refiner_that_does_not_exist_is_named_with_the_choices(model: str) -> None:
    with pytest.raises(RefinerNotFoundError, match="give hole-filter, shipped, none, a folder or hub id"):
        load_refiner(model)


def test_something_that_is_no_refiner_says_what_it_lacks() -> None:
    with pytest.raises(RefinerNotFoundError, match="lacks fingerprint, context, refine"):
        load_refiner("collections.OrderedDict")
