"""Positions over time: smoothing without lag, and filling of gaps."""

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import correlate1d

REACH = 4
"""Standard deviations at which the Gaussian is cut off."""


def smooth(
    positions: Float[np.ndarray, "t *d"], frame: Int[np.ndarray, " t"], sigma: float
) -> Float[np.ndarray, "t *d"]:
    """Each position replaced by the value there of a line fitted to its neighbours, Gaussian weights over time.

    `frame` rises strictly; `sigma` in frames, 0 for none. Frames that are missing have no weight. With neighbours
    on both sides alike this is the plain Gaussian mean; at the ends and beside gaps, where that mean would drag a
    moving face towards the inside, the line keeps uniform motion exactly. Symmetric in time, hence without lag.
    """
    if sigma == 0 or len(frame) < 2:
        return positions.copy()
    at = frame - frame[0]
    values = np.zeros((at[-1] + 1, 1 + positions[0].size))
    origin = positions.astype(np.float64).mean(axis=0)
    values[at, 0] = 1
    values[at, 1:] = (positions - origin).reshape(len(at), -1)
    offset = np.arange(-np.ceil(REACH * sigma), np.ceil(REACH * sigma) + 1)
    weight = np.exp(-0.5 * (offset / sigma) ** 2)
    m0, m1, m2 = (correlate1d(values, weight * offset**power, axis=0, mode="constant")[at] for power in range(3))
    s0, s1, s2 = m0[:, :1], m1[:, :1], m2[:, :1]
    determinant = s0 * s2 - s1**2
    alone = determinant <= 1e-12 * s0**2  # no neighbour within reach
    line = (s2 * m0[:, 1:] - s1 * m1[:, 1:]) / np.where(alone, 1, determinant)
    smoothed = np.where(alone, m0[:, 1:] / s0, line).reshape(positions.shape) + origin
    return smoothed.astype(positions.dtype)


def fill_gaps(
    positions: Float[np.ndarray, "t *d"], frame: Int[np.ndarray, " t"], wanted: Int[np.ndarray, " s"]
) -> Float[np.ndarray, "s *d"]:
    """Positions at the wanted frames, on straight lines between the known ones."""
    flat = positions.reshape(len(frame), -1)
    columns = [np.interp(wanted, frame, column) for column in flat.T]
    return np.stack(columns, axis=1).reshape(len(wanted), *positions.shape[1:]).astype(positions.dtype)
