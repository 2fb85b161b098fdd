"""Stage 2: a radiance field on hash grids with depth as a first-class citizen."""
