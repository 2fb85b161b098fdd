"""The votes of `colour_guidance` compiled for a CPU, where torch sorts a hundred of them for each pixel."""

from __future__ import annotations

import numpy as np
from numba import njit

_HALF, _ZERO = np.float32(0.5), np.float32(0.0)


@njit(cache=True, nogil=True, fastmath={"reassoc", "nnan", "nsz", "contract"})
def _weighted_median(values, weights):
    """The least of the values at and below which half of the weight lies, by bisection."""
    total, least, most = _ZERO, values[0], values[0]
    for place in range(values.size):
        value = values[place]
        total += weights[place]
        least = value if value < least else least
        most = value if value > most else most
    while least < most:
        middle = least + _HALF * (most - least)
        if middle >= most:
            middle = least
        weight, below, above = _ZERO, least, most
        for place in range(values.size):
            value, within = values[place], values[place] <= middle
            weight += weights[place] if within else _ZERO
            low, high = value if within else least, most if within else value
            below = low if low > below else below
            above = high if high < above else above
        if weight >= _HALF * total:
            most = below
        else:
            least = above
    return most


@njit(cache=True, nogil=True, fastmath={"reassoc", "nnan", "nsz", "contract"})
def vote(members_z_m, colour, pixels, undecided, reach_px, distance_px, colour_distance, guided_z_m, spread_z_m):
    """Writes what is chosen at pixels of one image, and how far the votes are spread around it.

    Args:
        members_z_m: [E, height, width], metres.
        colour: [3, height, width], 0..1.
        pixels: rows and columns [P, 2] of the pixels that are voted on.
        undecided: [height, width]; where it is False, what stands in `guided_z_m` is what is chosen.
        reach_px: neighbours up to so many pixels away vote.
        distance_px: distance at which a neighbour's weight has fallen to 61 %.
        colour_distance: distance between colours at which it has.
        guided_z_m: [height, width], the chosen depth.
        spread_z_m: [height, width], standard deviation of the votes.
    """
    members, height, width = members_z_m.shape
    most = members * (2 * reach_px + 1) ** 2
    values, weights = np.empty(most, np.float32), np.empty(most, np.float32)
    near, alike = np.float32(1.0 / distance_px**2), np.float32(1.0 / colour_distance**2)
    for pixel in range(len(pixels)):
        row, column = pixels[pixel, 0], pixels[pixel, 1]
        count = 0
        for down in range(-reach_px, reach_px + 1):
            other_row = min(max(row + down, 0), height - 1)
            for right in range(-reach_px, reach_px + 1):
                other_column = min(max(column + right, 0), width - 1)
                squares = np.float32(0.0)
                for channel in range(3):
                    difference = colour[channel, other_row, other_column] - colour[channel, row, column]
                    squares += difference * difference
                weight = np.exp(-_HALF * (np.float32(down * down + right * right) * near + squares * alike))
                for member in range(members):
                    values[count], weights[count] = members_z_m[member, other_row, other_column], weight
                    count += 1
        if undecided[row, column]:
            guided_z_m[row, column] = _weighted_median(values, weights)
        chosen = guided_z_m[row, column]
        squares, total = _ZERO, _ZERO
        for place in range(count):
            squares += weights[place] * (values[place] - chosen) ** 2
            total += weights[place]
        spread_z_m[row, column] = np.sqrt(squares / total)
