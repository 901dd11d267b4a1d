"""Geometry of boxes: rows of x1 y1 x2 y2 (and more columns, ignored) in pixels, x2 and y2 being exclusive edges."""

import numpy as np
from jaxtyping import Float


def box_sides(boxes: Float[np.ndarray, "n _"]) -> Float[np.ndarray, " n"]:
    """Return the side of the square with a box's area, in pixels."""
    return np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def box_centres(boxes: Float[np.ndarray, "n _"]) -> Float[np.ndarray, "n 2"]:
    """Return the centres x y, in pixels."""
    return (boxes[:, :2] + boxes[:, 2:4]) / 2


def box_iou(a: Float[np.ndarray, "n _"], b: Float[np.ndarray, "m _"]) -> Float[np.ndarray, "n m"]:
    """Return the intersection over union of every box of a with every box of b."""
    corner = np.maximum(a[:, None, :2], b[None, :, :2])
    opposite = np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    both = np.clip(opposite - corner, 0, None).prod(axis=-1)
    areas = box_sides(a)[:, None] ** 2 + box_sides(b)[None, :] ** 2
    return both / (areas - both)


def box_distance(a: Float[np.ndarray, "n _"], b: Float[np.ndarray, "m _"]) -> Float[np.ndarray, "n m"]:
    """Return how far apart boxes are: distance of centres over mean side, plus the octaves between the sides."""
    side_a, side_b = box_sides(a)[:, None], box_sides(b)[None, :]
    apart = np.linalg.norm(box_centres(a)[:, None] - box_centres(b)[None], axis=-1)
    return apart / ((side_a + side_b) / 2) + np.abs(np.log2(side_a / side_b))


def moved_box(box: Float[np.ndarray, " 4"], dx: float, dy: float, ratio: float = 1.0) -> Float[np.ndarray, " 4"]:
    """Return a square of `ratio` times the box's side, its centre moved by dx, dy sides."""
    (side,), ((x, y),) = box_sides(box[None]), box_centres(box[None])
    x, y, half = x + dx * side, y + dy * side, ratio * side / 2
    return np.array([x - half, y - half, x + half, y + half])
