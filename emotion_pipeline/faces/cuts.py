"""Where one shot ends and the next begins."""

from collections import deque
from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Float32, Int64
from scipy.ndimage import rank_filter

from emotion_pipeline.faces.frames import Frame

GRID, CELL = 4, 16  # cells along each side of the frame, pixels along each side of a cell after shrinking
SPIKE = 3.0  # a cut changes the frame by more than so many times what the frames before and after it change
LIGHT, DIM = 0.4, 0.3  # mean value of a frame below which the threshold falls with it, to no less than this share
BLACK = 0.01  # mean value (0 to 1) below which a frame is black: it belongs to no shot of others

Layout = Float32[np.ndarray, "cells 3 values"]


def colour_layout(frame: Frame) -> Layout:
    """Return the values (0 to 1) of each colour in each cell of a coarse grid, sorted: what is where, roughly."""
    small = cv2.resize(frame, (GRID * CELL, GRID * CELL), interpolation=cv2.INTER_AREA)
    cells = small.reshape(GRID, CELL, GRID, CELL, 3).transpose(0, 2, 4, 1, 3).reshape(GRID**2, 3, CELL**2)
    return np.sort(cells, axis=-1).astype(np.float32) / 255


def shots(frames: Iterable[Frame], threshold: float) -> Int64[np.ndarray, " t"]:
    """Return the number of the shot that each frame belongs to, from 0.

    A shot ends where `colour_layout` changes by more than `threshold` (0 to 1; less in the dark: `LIGHT`) from one
    frame to the next in at least half of the cells, and far more than around (`SPIKE`), which fast motion and rising
    light do not; and where frames become black or are no longer. A cell's change is the earth mover's distance
    between its histograms: motion inside it does not count, nor does somebody who comes into a part of the frame.
    A single frame whose neighbours are alike, as in the light of a flash, ends no shot.
    """
    last, rows = deque[Layout](maxlen=2), list[tuple[float, float, float]]()
    for frame in frames:
        layout = colour_layout(frame)
        from_last = _change(last[-1], layout) if last else 0.0
        from_last_but_one = _change(last[0], layout) if len(last) == 2 else np.inf
        rows.append((from_last, from_last_but_one, float(layout.mean())))
        last.append(layout)
    step, leap, level = np.array([*rows, (0.0, np.inf, 0.0)]).T
    least = threshold * np.clip(np.maximum(level, np.roll(level, 1)) / LIGHT, DIM, 1)
    # the second largest of the two steps before and the two after: the largest may be a cut
    around = rank_filter(step, -2, footprint=[1, 1, 0, 1, 1], mode="constant")
    cut = (step > least) & (step > SPIKE * around) & (np.minimum(leap, np.roll(leap, -1)) > least)
    cut[1:] |= np.diff(level < BLACK)
    return np.cumsum(cut[:-1], dtype=np.int64)


def _change(before: Layout, after: Layout) -> float:
    return float(np.median(np.abs(after - before).mean(axis=(1, 2))))
