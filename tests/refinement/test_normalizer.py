"""Depth as the diffusion model sees it."""

from __future__ import annotations

import math

import pytest
import torch

from diffnerf_ns.refinement import normalizer
from diffnerf_ns.refinement.normalizer import (
    CONDITION_CHANNELS,
    REFERENCE_Z_M,
    ResidualCode,
    base_depth,
    condition_channels,
    fill_missing,
    local_disagreement,
)

CODE = ResidualCode()


def test_decoding_undoes_encoding_within_the_limit() -> None:
    base = torch.tensor([0.3, 1.0, 2.0, 8.0]).reshape(1, 2, 2)
    for factor in (0.5, 0.9, 0.999, 1.0, 1.002, 1.1, 2.0):
        torch.testing.assert_close(
            CODE.decode(CODE.encode(factor * base, base), base), factor * base, rtol=1e-4, atol=0
        )


def test_the_code_is_clipped_and_0_for_missing_depth_and_for_the_base_itself() -> None:
    base = torch.full((1, 1, 4), 2.0)
    code = CODE.encode(torch.tensor([[[0.0, 2.0, 1e3, 1e-3]]]), base)
    assert code.flatten().tolist() == [0.0, 0.0, CODE.limit, -CODE.limit]


def test_small_differences_are_linear_in_the_relative_difference() -> None:
    base = torch.full((1, 1, 1), 2.0)
    code = CODE.encode(base * (1 + 0.01 * CODE.scale), base)
    assert code.item() == pytest.approx(0.01 * CODE.gain, rel=1e-2)


def test_missing_depth_takes_its_nearest_neighbour_s() -> None:
    depth = torch.zeros(1, 7, 13)
    depth[0, 2, 3], depth[0, 5, 11] = 1.0, 4.0
    filled = fill_missing(depth)
    rows, columns = torch.meshgrid(torch.arange(7), torch.arange(13), indexing="ij")
    to_first, to_second = (rows - 2) ** 2 + (columns - 3) ** 2, (rows - 5) ** 2 + (columns - 11) ** 2
    assert (filled[0][to_first < to_second] == 1.0).all()
    assert (filled[0][to_first > to_second] == 4.0).all()


def test_known_depth_stays_and_an_image_without_any_gets_the_reference() -> None:
    depth = torch.rand(2, 5, 9) + 0.5
    assert torch.equal(fill_missing(depth), depth)
    assert (fill_missing(torch.zeros(1, 5, 9)) == REFERENCE_Z_M).all()


@pytest.mark.parametrize(("height", "width", "missing"), [(37, 52, 0.6), (1, 40, 0.9), (64, 3, 0.3), (16, 16, 0.0)])
def test_compiled_filling_takes_the_pixels_that_torch_takes(monkeypatch, height, width, missing) -> None:
    generator = torch.Generator().manual_seed(height)
    depth = 0.5 + torch.rand(3, height, width, generator=generator)
    depth[torch.rand(depth.shape, generator=generator) < missing] = 0.0
    depth[2] = 0.0
    filled = {}
    for compiled in (True, False):
        monkeypatch.setattr(normalizer, "compiles_for", lambda _, compiled=compiled: compiled)
        filled[compiled] = fill_missing(depth)
    assert torch.equal(filled[True], filled[False])
    assert (filled[True] > 0).all()


def test_the_first_guess_is_the_views_then_the_sensor_s_then_what_is_around() -> None:
    sensor, fused = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]]), torch.tensor([[[0.0, 1.1, 1.2, 0.0]]])
    assert base_depth(sensor, fused).flatten().tolist() == pytest.approx([1.0, 1.1, 1.2, 1.2])
    assert base_depth(sensor).flatten().tolist() == [1.0] * 4


def test_conditions_hold_colour_depth_validity_and_evidence() -> None:
    image = torch.full((1, 3, 16, 16), 0.75)
    sensor = torch.full((1, 16, 16), 4.0)
    sensor[..., 8:] = 0
    fused, votes = torch.where(sensor > 0, 4.0, 0.0), torch.full((1, 16, 16), math.e - 1)
    base = base_depth(sensor, fused)
    known = condition_channels(CODE, image, sensor, base, fused, votes, 0 * votes)[0]
    alone = condition_channels(CODE, image, sensor, base)[0]
    assert len(known) == len(alone) == CONDITION_CHANNELS
    assert (known[:3] == 0.5).all()
    torch.testing.assert_close(known[3], torch.full((16, 16), math.log(4.0 / REFERENCE_Z_M)))
    assert (known[4] == 0).all()
    assert torch.equal(known[5], (sensor[0] > 0).float())
    assert torch.equal(known[7], (fused[0] > 0).float())
    torch.testing.assert_close(known[8], torch.full((16, 16), 0.5))
    assert (known[9] == 0).all()
    assert (alone[7:10] == 0).all()
    assert known[10:].abs().max() < 1e-3, "a flat wall has no relief and no edges"


def test_disagreement_is_the_mean_difference_around_and_the_image_s_where_none_is_known() -> None:
    sensor, fused = torch.full((1, 40, 60), 2.0), torch.full((1, 40, 60), 2.03)
    sensor[:, :, 30:] = 0.0
    fused[:, 5, 5] = 4.0
    found = local_disagreement(sensor, fused)[0]
    assert found[30, 10].item() == pytest.approx(0.03, rel=1e-4)
    assert found[5, 5].item() == pytest.approx((0.03 * (14 * 14 - 1) + 0.1) / 14**2, rel=1e-4)
    assert found[30, 33].item() == pytest.approx(0.03, rel=1e-4)
    assert found[30, 50].item() == pytest.approx((0.03 * (40 * 30 - 1) + 0.1) / (40 * 30), rel=1e-4)
    assert (local_disagreement(0 * sensor, fused) == 0).all()
    assert (local_disagreement(sensor, None) == 0).all()
    assert (local_disagreement(fused, fused) > 0).all()
