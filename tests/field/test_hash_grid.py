"""The three back-ends encode alike, from one table whose layout is fixed."""

import pytest
import torch

from diffnerf_ns.field import hash_grid, hash_grid_numba, hash_grid_torch
from diffnerf_ns.field.hash_grid import HashGrid, choose_backend
from diffnerf_ns.field.hash_grid_layout import make_layout

LAYOUT = make_layout(num_levels=6, base_resolution=8, max_resolution=256, log2_hashmap_size=12)


def _table(layout=LAYOUT, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(layout.num_entries, 2, generator=generator, dtype=dtype).requires_grad_(True)


def _positions(count: int, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(count, 3, generator=generator, dtype=dtype).requires_grad_(True)


def test_coarse_levels_are_dense_and_fine_levels_hashed():
    assert [level.hashed for level in LAYOUT.levels] == [False, False, True, True, True, True]
    assert LAYOUT.levels[0].resolution == 8
    assert LAYOUT.levels[0].size == 512
    assert all(level.size == 4096 for level in LAYOUT.levels[1:])
    assert LAYOUT.levels[-1].scale == pytest.approx(255, rel=1e-4)


def test_levels_follow_one_another_without_gap_or_overlap():
    ends = [level.offset + level.size for level in LAYOUT.levels]
    assert [level.offset for level in LAYOUT.levels] == [0, *ends[:-1]]
    assert ends[-1] == LAYOUT.num_entries


def test_a_position_on_a_dense_grid_point_takes_that_entry():
    level = LAYOUT.levels[0]
    table = _table()
    x, y, z = 3, 1, 5
    position = (torch.tensor([[x, y, z]]) - 0.5) / level.scale
    features = hash_grid_torch.encode(position, table, LAYOUT)
    entry = x + level.resolution * (y + level.resolution * z)
    torch.testing.assert_close(features[0, :2], table[entry], atol=1e-5, rtol=0)


def test_halfway_between_two_grid_points_is_their_mean():
    level = LAYOUT.levels[0]
    table = _table()
    position = (torch.tensor([[2.5, 1.0, 4.0]]) - 0.5) / level.scale
    entry = 2 + level.resolution * (1 + level.resolution * 4)
    features = hash_grid_torch.encode(position, table, LAYOUT)
    torch.testing.assert_close(features[0, :2], 0.5 * (table[entry] + table[entry + 1]), atol=1e-5, rtol=0)


def test_a_hashed_entry_is_the_published_hash_of_its_corner():
    level = LAYOUT.levels[3]
    corner = [17, 30, 5]
    mixed = (17 ^ (30 * 2654435761) ^ (5 * 805459861)) & 0xFFFFFFFF
    table = _table()
    position = (torch.tensor([corner], dtype=torch.float64) - 0.5) / level.scale
    features = hash_grid_torch.encode(position, table.double(), LAYOUT)
    torch.testing.assert_close(features[0, 6:8], table[level.offset + mixed % level.size].double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("points_at_a_time", [700, 65536])
def test_numba_equals_torch_in_value_and_in_both_gradients(points_at_a_time, monkeypatch):
    monkeypatch.setattr(hash_grid_numba, "_POINTS_AT_A_TIME", points_at_a_time)
    results = []
    for module in (hash_grid_torch, hash_grid_numba):
        positions, table = _positions(2000), _table()
        features = module.encode(positions, table, LAYOUT)
        features.backward(torch.linspace(-1, 1, features.numel()).view_as(features))
        results.append((features.detach(), table.grad, positions.grad / LAYOUT.levels[-1].scale))
    for of_torch, of_numba in zip(*results, strict=True):
        torch.testing.assert_close(of_numba, of_torch, atol=1e-5, rtol=1e-5)


def test_numba_equals_torch_at_the_corners_of_the_cube():
    corners = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    table = _table()
    torch.testing.assert_close(
        hash_grid_numba.encode(corners, table, LAYOUT),
        hash_grid_torch.encode(corners, table, LAYOUT),
        atol=1e-5,
        rtol=0,
    )


def test_numba_encodes_alike_whether_positions_want_a_gradient_or_not():
    results = []
    for positions in (_positions(2000), _positions(2000).detach()):
        table = _table()
        features = hash_grid_numba.encode(positions, table, LAYOUT)
        features.sum().backward()
        results.append((features.detach(), table.grad))
    for wanted, unwanted in zip(*results, strict=True):
        torch.testing.assert_close(wanted, unwanted, atol=1e-6, rtol=1e-6)


def test_numba_gives_the_same_gradient_twice():
    grads = []
    for _ in range(2):
        table = _table()
        hash_grid_numba.encode(_positions(5000), table, LAYOUT).square().sum().backward()
        grads.append(table.grad)
    assert torch.equal(*grads)


def test_torch_gradients_are_those_of_finite_differences():
    layout = make_layout(num_levels=2, base_resolution=4, max_resolution=8, log2_hashmap_size=8)
    positions = (_positions(4, torch.float64).detach() * 0.9 + 0.05).requires_grad_(True)
    table = _table(layout, torch.float64)
    assert torch.autograd.gradcheck(lambda p, t: hash_grid_torch.encode(p, t, layout), (positions, table))


def test_a_checkpoint_of_one_backend_opens_with_another():
    of_numba = HashGrid(4, 8, 64, 10, backend="numba")
    of_torch = HashGrid(4, 8, 64, 10, backend="torch")
    of_torch.load_state_dict(of_numba.state_dict(), strict=True)
    positions = torch.rand(100, 3)
    torch.testing.assert_close(of_torch(positions), of_numba(positions), atol=1e-5, rtol=0)


def test_a_backend_on_the_wrong_device_is_refused_by_name():
    with pytest.raises(RuntimeError, match="'tcnn' runs on cuda, the model is on cpu"):
        choose_backend("tcnn", "cpu")


def test_auto_falls_back_to_torch_and_says_why_once(monkeypatch, capsys):
    choose_backend.cache_clear()
    monkeypatch.setattr(hash_grid, "_why_unavailable", lambda name: "numba does not import" if name == "numba" else "")
    assert choose_backend("auto", "cpu") == "torch"
    assert choose_backend("auto", "cpu") == "torch"
    said = capsys.readouterr().out
    choose_backend.cache_clear()
    assert said.count("using torch on cpu: numba does not import") == 1


@pytest.mark.parametrize(("base", "largest"), [(1, 64), (64, 16)])
def test_impossible_resolutions_are_refused_with_what_is_needed(base, largest):
    with pytest.raises(ValueError, match="2 <= base_resolution <= max_resolution"):
        make_layout(4, base, largest, 10)
