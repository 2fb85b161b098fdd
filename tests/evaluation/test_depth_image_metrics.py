"""PSNR, SSIM and edge scores of depth maps, by values that can be computed by hand."""

from __future__ import annotations

import pytest
import torch

from diffnerf_ns.evaluation.depth_image_metrics import depth_psnr_db, depth_ssim, edge_scores


def step_at(column: int, height: int = 12, width: int = 16) -> torch.Tensor:
    depth = torch.full((height, width), 2.0)
    depth[:, :column] = 1.0
    return depth


def test_psnr_has_a_peak_of_ten_metres() -> None:
    assert depth_psnr_db(1.0) == pytest.approx(20.0)
    assert depth_psnr_db(0.01) == pytest.approx(40.0)
    assert depth_psnr_db(0.0) == 100.0


def test_ssim_of_a_map_with_itself_is_one() -> None:
    assert depth_ssim(step_at(7), step_at(7)) == pytest.approx(1.0)


def test_ssim_of_two_flat_walls_compares_their_distances() -> None:
    expected = (2 * 2.0 * 3.0 + 0.01) / (4.0 + 9.0 + 0.01)
    assert depth_ssim(torch.full((12, 16), 2.0), torch.full((12, 16), 3.0)) == pytest.approx(expected)


def test_ssim_agrees_with_the_usual_one_but_for_the_border() -> None:
    structural_similarity = pytest.importorskip("skimage.metrics").structural_similarity
    generator = torch.Generator().manual_seed(1)
    truth, noise = torch.rand(2, 41, 53, generator=generator)
    truth = 2 + 4 * truth
    predicted = truth + noise
    _, expected = structural_similarity(
        *(depth.double().numpy() for depth in (predicted, truth)),
        data_range=10,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert depth_ssim(predicted, truth) == pytest.approx(float(expected.mean()), abs=2e-3)


def test_unknown_pixels_have_no_part_in_ssim() -> None:
    truth, predicted = step_at(7), step_at(7) + 0.1
    whole = depth_ssim(torch.full((12, 16), 2.0), torch.full((12, 16), 3.0))
    flat_truth = torch.full((12, 16), 2.0)
    flat_truth[3:6, 3:6] = 0
    assert depth_ssim(torch.full((12, 16), 3.0), flat_truth) == pytest.approx(whole)
    assert depth_ssim(predicted, truth) < 1


@pytest.mark.parametrize(("column", "f_score"), [(8, 1.0), (9, 1.0), (10, 0.5), (11, 0.0)])
def test_edges_are_found_within_one_pixel(column: int, f_score: float) -> None:
    assert edge_scores(step_at(column), step_at(8))["edge_f_score"] == pytest.approx(f_score)


def test_an_edge_too_many_costs_precision_and_one_too_few_recall() -> None:
    both = step_at(4)
    both[:, 12:] = 3.0
    found_too_many = edge_scores(both, step_at(4))
    assert found_too_many["edge_recall"] == 1
    assert found_too_many["edge_precision"] == pytest.approx(0.5)
    found_too_few = edge_scores(step_at(4), both)
    assert (found_too_few["edge_precision"], found_too_few["edge_recall"]) == (1, pytest.approx(0.5))


def test_edges_are_judged_where_the_truth_is_known() -> None:
    truth = torch.full((12, 16), 2.0)
    truth[:, 6:10] = 0
    assert edge_scores(step_at(8), truth) == {}
    assert edge_scores(torch.ones(12, 16), torch.ones(12, 16)) == {}
