"""The 68 landmarks of every detected face.

Deviation: the paper's alignment ([26]) is not public; other predictors stand in for it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from emotion_pipeline.data.artifact import Artifact, read_array, read_attributes
from emotion_pipeline.faces.boxes import moved_box
from emotion_pipeline.faces.dlib_models import dlib_68, landmarks_file
from emotion_pipeline.faces.frames import Boxes, Frame, Landmarks, frames_until
from emotion_pipeline.params import AlignParams, RuntimeParams
from emotion_pipeline.weights.fetch import files_of


@dataclass(frozen=True)
class Predictor:
    """How a predictor finds landmarks, and with which files.

    `predict`: frames, each with the boxes that dlib's HOG would give its faces; the files; runtime -> the landmarks
    of each frame's boxes. It may gather `runtime.batch` faces.
    """

    predict: Callable[[Iterable[tuple[Frame, Boxes]], Sequence[Path], RuntimeParams], Iterator[Landmarks]]
    files: Callable[[], list[Path]]


def _fan_2d(faces: Iterable[tuple[Frame, Boxes]], files: Sequence[Path], runtime: RuntimeParams) -> Iterator[Landmarks]:
    from emotion_pipeline.faces.face_alignment_models import fan_2d  # imports torch: seconds, which dlib does not need

    return fan_2d(faces, files, runtime)


PREDICTORS = {
    "dlib_68": Predictor(lambda faces, files, runtime: dlib_68(faces, files[0]), landmarks_file),
    "fan_2d": Predictor(_fan_2d, partial(files_of, "fan_2d")),
}


def align_clip(files: Sequence[Path], params: AlignParams, runtime: RuntimeParams) -> Artifact:
    """Return the landmarks of every face of a clip. `files`: the video, its file of detect, the predictor's files.

    `landmarks` float32 (n, 68, 2): x y in pixels, whole numbers being pixel centres, one row per box of detect;
    `frame` int32 (n,) as there. Raises ClipError as `frames_until`.
    """
    video, detections, *weights = files
    frame = read_array(detections, "frame")
    found = PREDICTORS[params.predictor].predict(_faces(video, detections), weights, runtime)
    return Artifact(
        arrays={"frame": frame},
        attributes={"predictor": params.predictor},
        absent=str(read_attributes(detections).get("absent", "")),
        pieces=({"landmarks": rows} for rows in _with_none(found)),
    )


def _with_none(found: Iterator[Landmarks]) -> Iterator[Landmarks]:
    yield np.zeros((0, 68, 2), np.float32)
    yield from found


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
