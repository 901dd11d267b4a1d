"""The part of a video in which faces were found."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from emotion_pipeline.clips import ClipError
from emotion_pipeline.media import frames


def frames_until(video: Path, last: int) -> Iterator[tuple[int, UInt8[np.ndarray, "h w 3"]]]:
    """Number and picture of every frame up to number `last`, behind which nothing is decoded; -1 for no frame.

    Raises ClipError as `media.frames`, and `truncated` where the video ends before.
    """
    decoded = 0
    for number, picture in enumerate(islice(frames(video), last + 1)):
        decoded += 1
        yield number, picture
    if decoded <= last:
        raise ClipError("truncated", f"{video.name}: ends before frame {last}, in which a face was found")
