"""Pictures of a video, and what is found in them."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from emotion_pipeline.clips import ClipError
from emotion_pipeline.media import frames

Picture = UInt8[np.ndarray, "h w 3"]
"""RGB."""

Canvas = UInt8[np.ndarray, "y x 3"]
"""RGB, of a size of its own."""

Boxes = Float32[np.ndarray, "n 5"]
"""x1 y1 x2 y2 score, in pixels, x2 and y2 exclusive; may reach over the border."""

Landmarks = Float32[np.ndarray, "n 68 2"]
"""x y in pixels, whole numbers being pixel centres, in the numbering of Multi-PIE and iBUG 300-W (counted from 0)."""


def boxes_of(rows: Iterable[Iterable[float]]) -> Boxes:
    """The rows as an array, by falling score; of shape (0, 5) for none."""
    boxes = np.array([list(row) for row in rows], np.float32).reshape(-1, 5)
    return boxes[np.argsort(-boxes[:, 4], kind="stable")]


def frames_until(video: Path, last: int) -> Iterator[tuple[int, Picture]]:
    """Number and picture of every frame up to number `last`, behind which nothing is decoded; -1 for no frame.

    Raises ClipError as `media.frames`, and `truncated` where the video ends before.
    """
    decoded = 0
    for number, picture in enumerate(islice(frames(video), last + 1)):
        decoded += 1
        yield number, picture
    if decoded <= last:
        raise ClipError("truncated", f"{video.name}: ends before frame {last}, in which a face was found")
