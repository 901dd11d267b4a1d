"""Positions over time: smoothing without lag, and filling of gaps."""

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import correlate1d

REACH = 4  # standard deviations at which the Gaussian is cut off
DEGREE = 2  # of the polynomial: leaves fast motion, as of a shaken head, nearly where it is (docs/smoothing.md)
COLUMNS = 2  # coordinates smoothed at once, so that little memory is needed beside the result


def smooth(points: Float[np.ndarray, "t *d"], frame: Int[np.ndarray, " t"], sigma: float) -> Float[np.ndarray, "t *d"]:
    """Return at each point the value of a parabola fitted to its neighbours, with Gaussian weights over time.

    `frame` rises strictly; `sigma` in frames, 0 for none. Frames that are missing have no weight. Motion at constant
    acceleration is kept exactly, also at the ends and beside gaps. Symmetric in time, hence without lag. A point
    with fewer than three neighbours in reach, itself counted, stays as it is. (Savitzky and Golay 1964, with weights.)
    """
    if sigma == 0 or len(frame) < 2:
        return points.copy()
    at = frame - frame[0]
    offset = np.arange(-np.ceil(REACH * sigma), np.ceil(REACH * sigma) + 1) / sigma
    weight = np.exp(-0.5 * offset**2)

    def moment(rows: Float[np.ndarray, "t c"], power: int) -> Float[np.ndarray, "t c"]:
        """Return the sum over the neighbours of rows times weight times distance to this power."""
        dense = np.zeros((at[-1] + 1, rows.shape[1]))
        dense[at] = rows
        return correlate1d(dense, weight * offset**power, axis=0, mode="constant")[at]

    present = np.ones((len(at), 1))
    sums = np.concatenate([moment(present, power) for power in range(2 * DEGREE + 1)], axis=1)
    powers = np.arange(DEGREE + 1)
    normal = sums[:, powers[:, None] + powers]  # of the least squares, one for each frame
    share = np.linalg.pinv(normal, hermitian=True)[:, 0]  # of each moment in the value at the frame itself
    flat, smoothed = points.reshape(len(at), -1), np.empty_like(points).reshape(len(at), -1)
    for first in range(0, flat.shape[1], COLUMNS):
        columns = slice(first, first + COLUMNS)
        own = flat[:, columns].astype(np.float64)
        origin = own.mean(axis=0)
        fitted = sum(share[:, [power]] * moment(own - origin, power) for power in powers.tolist())
        smoothed[:, columns] = fitted + origin
    return smoothed.reshape(points.shape)


def fill_gaps(
    positions: Float[np.ndarray, "t *d"], frame: Int[np.ndarray, " t"], wanted: Int[np.ndarray, " s"]
) -> Float[np.ndarray, "s *d"]:
    """Return the positions at the wanted frames, on straight lines between the known ones."""
    flat = positions.reshape(len(frame), -1)
    columns = [np.interp(wanted, frame, column) for column in flat.T]
    return np.stack(columns, axis=1).reshape(len(wanted), *positions.shape[1:]).astype(positions.dtype)
