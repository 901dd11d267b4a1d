"""Frames of a video, and the boxes and landmarks that are found in them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from emotion_pipeline.data.media import frames
from emotion_pipeline.errors import ClipError
from emotion_pipeline.params import RuntimeParams

T = TypeVar("T")

Frame = UInt8[np.ndarray, "h w 3"]  # RGB
Canvas = UInt8[np.ndarray, "y x 3"]  # RGB, of a size of its own

Boxes = Float32[np.ndarray, "n 5"]
"""x1 y1 x2 y2 score, in pixels, x2 and y2 exclusive; may reach over the border."""

Landmarks = Float32[np.ndarray, "n 68 2"]
"""x y in pixels, whole numbers being pixel centres, in the numbering of Multi-PIE and iBUG 300-W (counted from 0)."""

Search = Callable[[Iterable[Frame], Sequence[Path], float, RuntimeParams], Iterator[Boxes]]
"""A detector: frames of one size, its files, the lowest score, runtime -> boxes of each frame, by falling score.

The boxes come in the order of the frames. `runtime.batch` frames may be gathered.
"""


def boxes_of(rows: Iterable[Iterable[float]]) -> Boxes:
    """Return the rows as an array, by falling score; of shape (0, 5) for none."""
    boxes = np.array([list(row) for row in rows], np.float32).reshape(-1, 5)
    return boxes[np.argsort(-boxes[:, 4], kind="stable")]


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


def groups(items: Iterable[T], most: int) -> Iterator[list[T]]:
    """Yield the items in order, `most` at a time."""
    items = iter(items)
    while group := list(islice(items, most)):
        yield group


def padded(frame: Frame, height: int, width: int) -> Canvas:
    """Return the frame with black added below and on the right."""
    down, right = height - frame.shape[0], width - frame.shape[1]
    return cv2.copyMakeBorder(frame, 0, down, 0, right, cv2.BORDER_CONSTANT)


def frames_until(video: Path, last: int) -> Iterator[tuple[int, Frame]]:
    """Yield number and pixels of every frame up to number `last`, -1 for none; nothing behind it is decoded.

    Raises ClipError as `media.frames`, and `truncated` where the video ends before.
    """
    number = -1
    for number, frame in enumerate(islice(frames(video), last + 1)):
        yield number, frame
    if number < last:
        raise ClipError("truncated", f"{video.name}: ends before frame {last}, in which a face was found")
