"""The hash-grid encoding as compiled, multi-threaded CPU kernels: forward, and backward to table and positions.

Two features per level. The forward pass runs in parallel over points; where positions want a gradient, it keeps the
features' slopes [levels, N, 2, 3], so that backward need not look them up again. The table gradient runs in parallel
over levels, whose entries are disjoint, so that no two threads write the same entry and the result does not depend on
scheduling. Cells are located in float64: at fine levels float32 would lose the fraction that interpolation lives on.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from diffnerf_ns.field.hash_grid_layout import HashGridLayout
from diffnerf_ns.field.numba_threads import share_torch_threads

_BLOCK = 512
_POINTS_AT_A_TIME = 65536
_PRIME_Y = np.uint32(2654435761)
_PRIME_Z = np.uint32(805459861)
_ONE = np.uint32(1)


@njit(inline="always")
def _locate(position, scale):
    """Cell index and fraction in [0, 1) of one coordinate."""
    location = np.float64(position) * np.float64(scale) + 0.5
    cell = np.int64(location)
    return np.uint32(cell), np.float32(location - np.float64(cell))


@njit(inline="always")
def _entries(x, y, z, resolution, size, hashed, first):
    """Table entries of a cell's eight corners, x varies fastest; unsigned, or every look-up would test for a sign."""
    if hashed:
        mask = size - _ONE
        y0, y1 = y * _PRIME_Y, (y + _ONE) * _PRIME_Y
        z0, z1 = z * _PRIME_Z, (z + _ONE) * _PRIME_Z
        x1 = x + _ONE
        return (
            first + np.uint64((x ^ y0 ^ z0) & mask),
            first + np.uint64((x1 ^ y0 ^ z0) & mask),
            first + np.uint64((x ^ y1 ^ z0) & mask),
            first + np.uint64((x1 ^ y1 ^ z0) & mask),
            first + np.uint64((x ^ y0 ^ z1) & mask),
            first + np.uint64((x1 ^ y0 ^ z1) & mask),
            first + np.uint64((x ^ y1 ^ z1) & mask),
            first + np.uint64((x1 ^ y1 ^ z1) & mask),
        )
    one, along_y, limit = np.uint64(1), np.uint64(resolution), np.uint64(size)
    along_z = along_y * along_y
    corner = np.uint64(x) + along_y * np.uint64(y) + along_z * np.uint64(z)
    if corner + one + along_y + along_z >= limit:
        return (
            first + corner % limit,
            first + (corner + one) % limit,
            first + (corner + along_y) % limit,
            first + (corner + along_y + one) % limit,
            first + (corner + along_z) % limit,
            first + (corner + along_z + one) % limit,
            first + (corner + along_z + along_y) % limit,
            first + (corner + along_z + along_y + one) % limit,
        )
    corner += first
    return (
        corner,
        corner + one,
        corner + along_y,
        corner + along_y + one,
        corner + along_z,
        corner + along_z + one,
        corner + along_z + along_y,
        corner + along_z + along_y + one,
    )


@njit(inline="always")
def _cell_of(position, scale, resolution, size, hashed, first):
    """Table entries of the eight corners around a position, and where it is between them along each axis."""
    x, fx = _locate(position[0], scale)
    y, fy = _locate(position[1], scale)
    z, fz = _locate(position[2], scale)
    return _entries(x, y, z, resolution, size, hashed, first), fx, fy, fz


@njit(inline="always")
def _weights(fx, fy, fz):
    """Trilinear weights of the eight corners, in the order of `_entries`."""
    gx, gy, gz = np.float32(1.0) - fx, np.float32(1.0) - fy, np.float32(1.0) - fz
    a, b, c, d = gx * gy, fx * gy, gx * fy, fx * fy
    return a * gz, b * gz, c * gz, d * gz, a * fz, b * fz, c * fz, d * fz


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _forward(positions, table, scales, resolutions, offsets, sizes, hashed, out):
    num_points = positions.shape[0]
    num_blocks = (num_points + _BLOCK - 1) // _BLOCK
    for block in prange(num_blocks):
        start = block * _BLOCK
        stop = min(num_points, start + _BLOCK)
        for level in range(scales.shape[0]):
            scale, resolution, size = scales[level], resolutions[level], sizes[level]
            is_hashed, offset = hashed[level], np.uint64(offsets[level])
            for point in range(start, stop):
                e, fx, fy, fz = _cell_of(positions[point], scale, resolution, size, is_hashed, offset)
                w = _weights(fx, fy, fz)
                out[point, 2 * level] = (
                    (w[0] * table[e[0], 0] + w[1] * table[e[1], 0])
                    + (w[2] * table[e[2], 0] + w[3] * table[e[3], 0])
                    + (w[4] * table[e[4], 0] + w[5] * table[e[5], 0])
                    + (w[6] * table[e[6], 0] + w[7] * table[e[7], 0])
                )
                out[point, 2 * level + 1] = (
                    (w[0] * table[e[0], 1] + w[1] * table[e[1], 1])
                    + (w[2] * table[e[2], 1] + w[3] * table[e[3], 1])
                    + (w[4] * table[e[4], 1] + w[5] * table[e[5], 1])
                    + (w[6] * table[e[6], 1] + w[7] * table[e[7], 1])
                )


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _backward_table(positions, grad_out, scales, resolutions, offsets, sizes, hashed, grad_table):
    for level in prange(scales.shape[0]):
        scale, resolution, size = scales[level], resolutions[level], sizes[level]
        is_hashed, offset = hashed[level], np.uint64(offsets[level])
        for point in range(positions.shape[0]):
            grad_0, grad_1 = grad_out[point, 2 * level], grad_out[point, 2 * level + 1]
            if grad_0 == 0.0 and grad_1 == 0.0:
                continue
            e, fx, fy, fz = _cell_of(positions[point], scale, resolution, size, is_hashed, offset)
            w = _weights(fx, fy, fz)
            for corner in range(8):
                grad_table[e[corner], 0] += w[corner] * grad_0
                grad_table[e[corner], 1] += w[corner] * grad_1


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _forward_with_slopes(positions, table, scales, resolutions, offsets, sizes, hashed, out, slopes):
    num_points = positions.shape[0]
    num_blocks = (num_points + _BLOCK - 1) // _BLOCK
    for block in prange(num_blocks):
        start = block * _BLOCK
        stop = min(num_points, start + _BLOCK)
        for level in range(scales.shape[0]):
            scale, resolution, size = scales[level], resolutions[level], sizes[level]
            is_hashed, offset = hashed[level], np.uint64(offsets[level])
            for point in range(start, stop):
                e, fx, fy, fz = _cell_of(positions[point], scale, resolution, size, is_hashed, offset)
                gy, gz = np.float32(1.0) - fy, np.float32(1.0) - fz
                for f in range(2):
                    x00, x10 = table[e[1], f] - table[e[0], f], table[e[3], f] - table[e[2], f]
                    x01, x11 = table[e[5], f] - table[e[4], f], table[e[7], f] - table[e[6], f]
                    v00, v10 = table[e[0], f] + fx * x00, table[e[2], f] + fx * x10
                    v01, v11 = table[e[4], f] + fx * x01, table[e[6], f] + fx * x11
                    v0, v1 = v00 + fy * (v10 - v00), v01 + fy * (v11 - v01)
                    out[point, 2 * level + f] = v0 + fz * (v1 - v0)
                    slopes[level, point, f, 0] = scale * (gz * (gy * x00 + fy * x10) + fz * (gy * x01 + fy * x11))
                    slopes[level, point, f, 1] = scale * (gz * (v10 - v00) + fz * (v11 - v01))
                    slopes[level, point, f, 2] = scale * (v1 - v0)


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _backward_positions(grad_out, slopes, grad_positions):
    num_points = grad_out.shape[0]
    num_blocks = (num_points + _BLOCK - 1) // _BLOCK
    for block in prange(num_blocks):
        start = block * _BLOCK
        stop = min(num_points, start + _BLOCK)
        for level in range(slopes.shape[0]):
            for point in range(start, stop):
                grad_0, grad_1 = grad_out[point, 2 * level], grad_out[point, 2 * level + 1]
                for axis in range(3):
                    grad_positions[point, axis] += (
                        grad_0 * slopes[level, point, 0, axis] + grad_1 * slopes[level, point, 1, axis]
                    )


def _parts(array: np.ndarray) -> list[np.ndarray]:
    """An array's rows, so many at a time that their slopes stay in memory which the process has already."""
    return [array[start : start + _POINTS_AT_A_TIME] for start in range(0, len(array), _POINTS_AT_A_TIME)]


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


class _HashGridFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, positions: Tensor, table: Tensor, layout: HashGridLayout, with_slopes: bool):
        ctx.levels, ctx.table_shape = layout.arrays, table.shape
        num_levels, num_features = len(layout.levels), table.shape[1]
        points, entries = _array(positions), _array(table)
        out = torch.empty(len(points), num_levels * num_features)
        slopes = []
        if with_slopes:
            for part, part_of_out in zip(_parts(points), _parts(out.numpy()), strict=True):
                slopes.append(torch.empty(num_levels, len(part), num_features, 3))
                arrays = (part, entries, *ctx.levels, part_of_out, slopes[-1].numpy())
                _forward_with_slopes(*arrays)  # pyright: ignore[reportCallIssue]
        else:
            _forward(points, entries, *ctx.levels, out.numpy())  # pyright: ignore[reportCallIssue]
        ctx.save_for_backward(positions, *slopes)
        return out

    @staticmethod
    def backward(ctx, grad_out: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        positions, *slopes = ctx.saved_tensors
        grad_positions = grad_table = None
        grad = _array(grad_out)
        if ctx.needs_input_grad[0]:
            grad_positions = torch.zeros_like(positions, memory_format=torch.contiguous_format)
            for arrays in zip(
                _parts(grad), [part.numpy() for part in slopes], _parts(grad_positions.numpy()), strict=True
            ):
                _backward_positions(*arrays)  # pyright: ignore[reportCallIssue]
        if ctx.needs_input_grad[1]:
            grad_table = torch.zeros(ctx.table_shape)
            arrays = (_array(positions), grad, *ctx.levels, grad_table.numpy())
            _backward_table(*arrays)  # pyright: ignore[reportCallIssue]
        return grad_positions, grad_table, None, None


def encode(positions: Tensor, table: Tensor, layout: HashGridLayout) -> Tensor:
    """Features [N, levels * F] of float32 CPU positions [N, 3] in [0, 1]^3; see `hash_grid_torch.encode`."""
    share_torch_threads()
    with_slopes = positions.requires_grad and torch.is_grad_enabled()
    return _HashGridFunction.apply(positions, table, layout, with_slopes)  # pyright: ignore[reportReturnType]
