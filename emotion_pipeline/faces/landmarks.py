"""The 68 landmarks of every detected face.

Deviation: the paper's alignment ([26]) is not public; other predictors stand in for it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from emotion_pipeline.data.artifact import Artifact, read_array, read_attributes
from emotion_pipeline.faces.dlib_models import dlib_68
from emotion_pipeline.faces.frames import Boxes, Frame, Landmarks, frames_until, moved_box
from emotion_pipeline.params import AlignParams, RuntimeParams


def _fan_2d(faces: Iterable[tuple[Frame, Boxes]], files: Sequence[Path], runtime: RuntimeParams) -> Iterator[Landmarks]:
    from emotion_pipeline.faces.face_alignment_models import fan_2d  # imports torch: seconds, which dlib does not need

    return fan_2d(faces, files, runtime)


PREDICTORS = {"dlib_68": lambda faces, files, _: dlib_68(faces, *files), "fan_2d": _fan_2d}
"""By name: frames, each with the boxes that dlib's HOG would give its faces; the files; runtime -> landmarks.

They come frame by frame, a row for each box. A predictor may gather `runtime.batch` faces.
"""


def align_clip(files: Sequence[Path], params: AlignParams, runtime: RuntimeParams) -> Artifact:
    """Return the landmarks of every face of a clip. `files`: the video, its file of detect, the predictor's files.

    `landmarks` float32 (n, 68, 2): x y in pixels, whole numbers being pixel centres, one row per box of detect;
    `frame` int32 (n,) as there. Raises ClipError as `frames_until`.
    """
    video, detections, *weights = files
    found = PREDICTORS[params.predictor](_faces(video, detections), weights, runtime)
    return Artifact(
        arrays={"frame": read_array(detections, "frame")},
        attributes={"predictor": params.predictor},
        absent=str(read_attributes(detections).get("absent", "")),
        pieces=({"landmarks": rows} for rows in chain([np.zeros((0, 68, 2), np.float32)], found)),
    )


def _faces(video: Path, detections: Path) -> Iterator[tuple[Frame, Boxes]]:
    """Yield the frames that have boxes, with these, as dlib's HOG would give them."""
    boxes, frame = read_array(detections, "boxes"), read_array(detections, "frame")
    known = read_attributes(detections)
    x, y, ratio = (float(known[f"box_{name}"]) for name in ("x", "y", "ratio"))
    for number, image in frames_until(video, int(frame.max(initial=-1))):
        first, behind = np.searchsorted(frame, [number, number + 1])
        if behind > first:
            squares = [[*moved_box(box[:4], x, y, ratio), box[4]] for box in boxes[first:behind]]
            yield image, np.array(squares, np.float32)
