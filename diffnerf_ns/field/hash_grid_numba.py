"""The hash-grid encoding as compiled, multi-threaded CPU kernels: forward, and backward to table and positions.

Two features per level. Forward and position gradients run in parallel over points. The table gradient runs in parallel
over levels, whose entries are disjoint, so that no two threads write the same entry and the result does not depend on
scheduling. Cells are located in float64: at fine levels float32 would lose the fraction that interpolation lives on.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from diffnerf_ns.field.hash_grid_layout import HashGridLayout

_BLOCK = 512
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
                x, fx = _locate(positions[point, 0], scale)
                y, fy = _locate(positions[point, 1], scale)
                z, fz = _locate(positions[point, 2], scale)
                e = _entries(x, y, z, resolution, size, is_hashed, offset)
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
            x, fx = _locate(positions[point, 0], scale)
            y, fy = _locate(positions[point, 1], scale)
            z, fz = _locate(positions[point, 2], scale)
            e = _entries(x, y, z, resolution, size, is_hashed, offset)
            w = _weights(fx, fy, fz)
            for corner in range(8):
                grad_table[e[corner], 0] += w[corner] * grad_0
                grad_table[e[corner], 1] += w[corner] * grad_1


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _backward_positions(positions, table, grad_out, scales, resolutions, offsets, sizes, hashed, grad_positions):
    for point in prange(positions.shape[0]):
        sum_x, sum_y, sum_z = np.float32(0.0), np.float32(0.0), np.float32(0.0)
        for level in range(scales.shape[0]):
            scale = scales[level]
            grad_0, grad_1 = grad_out[point, 2 * level] * scale, grad_out[point, 2 * level + 1] * scale
            if grad_0 == 0.0 and grad_1 == 0.0:
                continue
            x, fx = _locate(positions[point, 0], scale)
            y, fy = _locate(positions[point, 1], scale)
            z, fz = _locate(positions[point, 2], scale)
            e = _entries(x, y, z, resolutions[level], sizes[level], hashed[level], np.uint64(offsets[level]))
            v000 = table[e[0], 0] * grad_0 + table[e[0], 1] * grad_1
            v100 = table[e[1], 0] * grad_0 + table[e[1], 1] * grad_1
            v010 = table[e[2], 0] * grad_0 + table[e[2], 1] * grad_1
            v110 = table[e[3], 0] * grad_0 + table[e[3], 1] * grad_1
            v001 = table[e[4], 0] * grad_0 + table[e[4], 1] * grad_1
            v101 = table[e[5], 0] * grad_0 + table[e[5], 1] * grad_1
            v011 = table[e[6], 0] * grad_0 + table[e[6], 1] * grad_1
            v111 = table[e[7], 0] * grad_0 + table[e[7], 1] * grad_1
            gx, gy, gz = np.float32(1.0) - fx, np.float32(1.0) - fy, np.float32(1.0) - fz
            sum_x += gz * (gy * (v100 - v000) + fy * (v110 - v010)) + fz * (gy * (v101 - v001) + fy * (v111 - v011))
            sum_y += gz * (gx * (v010 - v000) + fx * (v110 - v100)) + fz * (gx * (v011 - v001) + fx * (v111 - v101))
            sum_z += gy * (gx * (v001 - v000) + fx * (v101 - v100)) + fy * (gx * (v011 - v010) + fx * (v111 - v110))
        grad_positions[point, 0] = sum_x
        grad_positions[point, 1] = sum_y
        grad_positions[point, 2] = sum_z


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


class _HashGridFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, positions: Tensor, table: Tensor, layout: HashGridLayout):
        ctx.save_for_backward(positions, table)
        ctx.levels = layout.arrays
        out = torch.empty(len(positions), len(layout.levels) * table.shape[1])
        _forward(_array(positions), _array(table), *ctx.levels, out.numpy())  # pyright: ignore[reportCallIssue]
        return out

    @staticmethod
    def backward(ctx, grad_out: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        positions, table = ctx.saved_tensors
        grad_positions = grad_table = None
        grad = _array(grad_out)
        if ctx.needs_input_grad[0]:
            grad_positions = torch.empty_like(positions, memory_format=torch.contiguous_format)
            arrays = (_array(positions), _array(table), grad, *ctx.levels, grad_positions.numpy())
            _backward_positions(*arrays)  # pyright: ignore[reportCallIssue]
        if ctx.needs_input_grad[1]:
            grad_table = torch.zeros_like(table)
            arrays = (_array(positions), grad, *ctx.levels, grad_table.numpy())
            _backward_table(*arrays)  # pyright: ignore[reportCallIssue]
        return grad_positions, grad_table, None


def encode(positions: Tensor, table: Tensor, layout: HashGridLayout) -> Tensor:
    """Features [N, levels * F] of float32 CPU positions [N, 3] in [0, 1]^3; see `hash_grid_torch.encode`."""
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # pyright: ignore
    return _HashGridFunction.apply(positions, table, layout)  # pyright: ignore[reportReturnType]
