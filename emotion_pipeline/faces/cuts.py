"""Where one shot ends and the next begins."""

from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Float32, Int64, UInt8

GRID, CELL = 4, 16
"""Cells along each side of the picture, pixels along each side of a cell after shrinking."""


def colour_layout(picture: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "cells 3 values"]:
    """The values (0 to 1) of each colour in each cell of a coarse grid, sorted: what is where, roughly."""
    small = cv2.resize(picture, (GRID * CELL, GRID * CELL), interpolation=cv2.INTER_AREA)
    cells = small.reshape(GRID, CELL, GRID, CELL, 3).transpose(0, 2, 4, 1, 3).reshape(GRID**2, 3, CELL**2)
    return np.sort(cells, axis=-1).astype(np.float32) / 255


def shots(pictures: Iterable[UInt8[np.ndarray, "h w 3"]], threshold: float) -> Int64[np.ndarray, " t"]:
    """Number of the shot that each picture belongs to, from 0.

    A shot ends where `colour_layout` changes by more than `threshold` (0 to 1) from one picture to the next in at least
    half of the cells. A cell's change is the earth mover's distance between its histograms: motion inside it does not
    count, nor does somebody who comes into a part of the picture; a flicker of the light by a few per cent counts as
    just that.
    """
    changed: list[bool] = []
    before = None
    for picture in pictures:
        layout = colour_layout(picture)
        changed.append(before is not None and bool(np.median(np.abs(layout - before).mean(axis=(1, 2))) > threshold))
        before = layout
    return np.cumsum(changed, dtype=np.int64)
