"""The density grid sends samples to where the field has matter."""

import pytest
import torch

from diffnerf_ns.field import density_grid
from diffnerf_ns.field.density_grid import DensityGrid, spread

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])


def _wall(positions: torch.Tensor) -> torch.Tensor:
    """Dense where 0.4 < x < 0.6."""
    return torch.where((positions[:, 0] > 0.4) & (positions[:, 0] < 0.6), 200.0, 0.0)


def _along_x(count: int) -> tuple[torch.Tensor, ...]:
    origins = torch.tensor([[-1.0, 0.1, 0.1]]).expand(count, 3)
    directions = torch.tensor([[1.0, 0.0, 0.0]]).expand(count, 3)
    return origins, directions, torch.full((count, 1), 0.05), torch.full((count, 1), 2.0)


def test_a_new_grid_proposes_samples_everywhere():
    grid = DensityGrid(BOX, 16).eval()
    lengths = grid.propose(*_along_x(1), steps=32, count=64)
    assert torch.histc(lengths, bins=4, min=0.05, max=2.0).min() >= 5


def test_after_looking_at_the_field_samples_go_to_the_wall():
    torch.manual_seed(0)
    grid = DensityGrid(BOX, 16).eval()
    for _ in range(40):
        grid.update(_wall, fraction=0.5, decay=0.5)
    lengths = grid.propose(*_along_x(4), steps=64, count=50)
    near_wall = (lengths > 1.25) & (lengths < 1.75)
    assert near_wall.float().mean() > 0.9


def test_a_ray_that_passes_an_object_closely_has_samples_at_the_wall_behind():
    grid = DensityGrid(BOX, 96).eval()
    grid.clear(torch.ones(96**3, dtype=torch.bool))
    x = torch.linspace(-0.995, 0.995, 399)[:, None]
    beside, wall = (x > -0.1) & (x < 0.1), (x > 0.3) & (x < 0.4)
    on_ray = torch.cat([x, torch.full_like(x, 0.1), torch.full_like(x, 0.1)], dim=-1)
    grid.observe(on_ray, torch.where(beside | wall, 1e4, 0.0)[:, 0])
    lengths = grid.propose(*_along_x(1), steps=64, count=32)
    assert ((lengths > 1.3) & (lengths < 1.4)).sum() >= 3


@pytest.mark.parametrize("training", [False, True])
def test_compiled_for_a_cpu_it_proposes_what_torch_does(training, monkeypatch):
    torch.manual_seed(3)
    grid = DensityGrid(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 2.0, 1.5]]), 24).train(training)
    grid.density.copy_(torch.where(torch.rand(24**3) < 0.05, 300.0, 0.02 * torch.rand(24**3)))
    origins, directions = torch.rand(500, 3) - 0.5, torch.nn.functional.normalize(torch.randn(500, 3), dim=-1)
    rays = origins, directions, 0.1 * torch.rand(500, 1), 1.0 + torch.rand(500, 1)
    results = []
    for compiled in (True, False):
        monkeypatch.setattr(density_grid, "compiles_for", lambda device_type, compiled=compiled: compiled)
        torch.manual_seed(4)
        results.append(grid.propose(*rays, steps=64, count=24))
    difference = (results[0] - results[1]).abs()
    assert (difference < 1e-4).float().mean() > 0.999  # a look-up on the border of a cell may fall on either side
    assert difference.max() < 0.1
    assert (results[0][:, 1:] >= results[0][:, :-1]).all()


def test_observed_matter_is_remembered_and_never_lowered_by_observation():
    grid = DensityGrid(BOX, 8)
    point = torch.tensor([[0.3, 0.3, 0.3]])
    grid.observe(point, torch.tensor([50.0]))
    grid.observe(point, torch.tensor([2.0]))
    assert grid.density[grid.cell_index(point)].item() == 50.0


def test_cleared_cells_get_next_to_no_samples_until_matter_is_observed():
    grid = DensityGrid(BOX, 16).eval()
    x = torch.arange(16)[:, None, None].expand(16, 16, 16)
    grid.clear((x < 12).reshape(-1))
    lengths = grid.propose(*_along_x(1), steps=64, count=50)
    assert (lengths < 1.4).float().mean() < 0.2
    grid.observe(torch.tensor([[-0.5, 0.1, 0.1]]), torch.tensor([100.0]))
    lengths = grid.propose(*_along_x(1), steps=64, count=50)
    assert ((lengths > 0.35) & (lengths < 0.65)).float().mean() > 0.9


def test_fog_of_an_untrained_field_does_not_fill_what_is_free():
    grid = DensityGrid(BOX, 16)
    grid.clear(torch.ones(16**3, dtype=torch.bool))
    centres = torch.rand(500, 3) * 2 - 1
    grid.observe(centres, torch.full((500,), 0.9 * grid.smallest_density))
    grid.update(lambda positions: torch.full((len(positions),), 0.9 * grid.smallest_density), fraction=1.0, decay=0.9)
    assert grid.density.max() == 0.0
    grid.observe(centres, torch.full((500,), 1.1 * grid.smallest_density))
    assert (grid.density[grid.cell_index(centres)] > 0).all()


def test_matter_that_went_away_fades():
    torch.manual_seed(0)
    grid = DensityGrid(BOX, 8)
    grid.observe(torch.tensor([[0.3, 0.3, 0.3]]), torch.tensor([50.0]))
    for _ in range(30):
        grid.update(lambda positions: torch.zeros(len(positions)), fraction=1.0, decay=0.5)
    assert grid.density.max() < 1.0


def test_positions_outside_the_box_fall_into_its_nearest_cell():
    grid = DensityGrid(BOX, 4)
    outside = grid.cell_index(torch.tensor([[9.0, -9.0, 0.1]]))
    inside = grid.cell_index(torch.tensor([[0.99, -0.99, 0.1]]))
    assert torch.equal(outside, inside)


def test_weights_spread_to_both_neighbours_and_no_further():
    widened = spread(torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]]))
    torch.testing.assert_close(widened, torch.tensor([[0.0, 0.5, 1.0, 0.5, 0.0]]))
