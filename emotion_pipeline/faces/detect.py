"""Find the faces of every frame, each frame by itself (section 2.1: "applied frame per frame").

Deviation: the paper used an internal detector of Orange Labs; here the detector is a choice.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import cv2
import dlib
import numpy as np
from jaxtyping import Float32, UInt8

from emotion_pipeline.clips import ClipError
from emotion_pipeline.media import frames
from emotion_pipeline.params import DetectParams
from emotion_pipeline.store import Artifact

Picture = UInt8[np.ndarray, "h w 3"]
Boxes = Float32[np.ndarray, "n 5"]


def dlib_hog(pictures: Iterable[Picture], params: DetectParams) -> Iterator[Boxes]:
    """dlib's frontal face detector (HOG, five poses, faces from 80 pixels; half of it per upsampling).

    It is run on grey pictures: the same boxes in most frames, two to three times as fast as on colour.
    """
    detector = dlib.get_frontal_face_detector()
    for picture in pictures:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        found, scores, _ = detector.run(grey, params.upsample, params.threshold)
        rows = [(r.left(), r.top(), r.right() + 1, r.bottom() + 1, s) for r, s in zip(found, scores, strict=True)]
        yield np.array(rows, np.float32).reshape(-1, 5)


DETECTORS: dict[str, Callable[[Iterable[Picture], DetectParams], Iterator[Boxes]]] = {"dlib_hog": dlib_hog}
"""From the pictures of a clip to the boxes of each, in order. A detector may gather pictures into batches."""


def detect_clip(files: Sequence[Path], params: DetectParams) -> Artifact:
    """All faces of a clip. `files`: the video.

    `boxes` float32 (n, 5): x1 y1 x2 y2 score, pixels of the frame, x2 and y2 exclusive, may reach over the border;
    `frame` int32 (n,): number in the video, from 0. Sorted by frame, in a frame by falling score.
    Raises ClipError as `media.frames`, and `empty` for a video without pictures.
    """
    (video,) = files
    pictures = frames(video)
    first = next(pictures, None)
    if first is None:
        raise ClipError("empty", f"{video.name}: has no pictures")
    found = list(DETECTORS[params.detector](chain([first], pictures), params))
    frame = np.repeat(np.arange(len(found), dtype=np.int32), [len(b) for b in found])
    height, width = first.shape[:2]
    return Artifact(
        arrays={"boxes": np.concatenate(found), "frame": frame},
        attributes={"detector": params.detector, "frames": len(found), "height": height, "width": width},
        absent="" if len(frame) else f"no_face: in none of {len(found)} frames",
    )
