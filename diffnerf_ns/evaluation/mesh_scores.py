"""How well one surface covers another, in metres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import open3d

POINTS_PER_SQUARE_METRE = 10_000
"""Density of the points that stand for a surface: about 1 cm apart."""


@dataclass(frozen=True)
class SurfaceScores:
    """Shares of two surfaces that lie within a distance of each other."""

    precision: float
    """Share of the judged surface near the reference."""
    recall: float
    """Share of the reference near the judged surface."""

    @property
    def f_score(self) -> float:
        """Harmonic mean of both (Knapitsch et al., "Tanks and Temples", 2017); 0 where both are 0."""
        total = self.precision + self.recall
        return 2.0 * self.precision * self.recall / total if total > 0 else 0.0


def surface_scores(
    judged: open3d.geometry.TriangleMesh, reference: open3d.geometry.TriangleMesh, within_m: float
) -> SurfaceScores:
    """Compares two surfaces by points spread evenly over them; an empty surface is near nothing.

    Args:
        judged: the surface in question, metres.
        reference: the surface that it should be, metres.
        within_m: distance up to which a point counts as on the other surface, metres.
    """
    points = [_spread_points(mesh) for mesh in (judged, reference)]
    shares = []
    for mine, other in (points, points[::-1]):
        if not (len(mine.points) and len(other.points)):
            return SurfaceScores(0.0, 0.0)
        distance_m = np.asarray(mine.compute_point_cloud_distance(other))
        shares.append(float((distance_m <= within_m).mean()))
    return SurfaceScores(*shares)


def _spread_points(mesh: open3d.geometry.TriangleMesh) -> open3d.geometry.PointCloud:
    if not len(mesh.triangles):
        return open3d.geometry.PointCloud()
    open3d.utility.random.seed(0)
    return mesh.sample_points_uniformly(max(1, round(mesh.get_surface_area() * POINTS_PER_SQUARE_METRE)))
