"""Distances along rays that every intersection agrees on."""

NEAREST = 1e-4
"""Metres: hits nearer than this are the surface that the ray started on."""

MISS = float("inf")
"""The distance of a ray that hits nothing."""
