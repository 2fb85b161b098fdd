"""Surfaces against surfaces whose distance and extent are known."""

from __future__ import annotations

import numpy as np
import open3d
import pytest

from diffnerf_ns.evaluation.fused_surface import fused_surface
from diffnerf_ns.evaluation.mesh_scores import SurfaceScores, surface_scores


def square(side_m: float = 1.0, z_m: float = 0.0) -> open3d.geometry.TriangleMesh:
    """A horizontal square with a corner at the origin."""
    corners = np.array([[0, 0, z_m], [side_m, 0, z_m], [side_m, side_m, z_m], [0, side_m, z_m]])
    return open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(corners), open3d.utility.Vector3iVector([[0, 1, 2], [0, 2, 3]])
    )


def test_a_surface_counts_up_to_the_distance_given() -> None:
    assert surface_scores(square(), square(), 0.05).f_score == 1.0
    assert surface_scores(square(z_m=0.03), square(), 0.05).f_score == 1.0
    assert surface_scores(square(z_m=0.06), square(), 0.05).f_score == 0.0


def test_what_is_missing_lowers_recall_and_what_is_too_much_precision() -> None:
    small = surface_scores(square(0.5), square(1.0), 0.05)
    assert small.precision == 1.0
    assert small.recall == pytest.approx(0.55**2, abs=0.02)
    large = surface_scores(square(1.0), square(0.5), 0.05)
    assert (large.precision, large.recall) == (pytest.approx(0.55**2, abs=0.02), 1.0)
    assert small.f_score == pytest.approx(2 * small.recall / (1 + small.recall))


def test_nothing_is_near_an_empty_surface() -> None:
    empty = open3d.geometry.TriangleMesh()
    assert surface_scores(empty, square(), 0.05) == SurfaceScores(0.0, 0.0)
    assert surface_scores(square(), empty, 0.05).f_score == 0.0


def test_a_wall_that_two_cameras_see_becomes_one_surface_where_it_is() -> None:
    intrinsics = np.array([[80.0, 0.0, 40.0], [0.0, 80.0, 30.0], [0.0, 0.0, 1.0]])
    nearer = np.eye(4)
    nearer[2, 3] = -0.5
    views = [
        (np.full((60, 80), depth, np.float32), intrinsics, pose) for depth, pose in ((2.0, np.eye(4)), (1.5, nearer))
    ]
    vertices = np.asarray(fused_surface(views, 0.04).vertices)
    assert np.abs(vertices[:, 2] + 2.0).max() < 0.005
    assert vertices[:, 0].min() == pytest.approx(-1.0, abs=0.06)
    assert vertices[:, 0].max() == pytest.approx(1.0, abs=0.06)
