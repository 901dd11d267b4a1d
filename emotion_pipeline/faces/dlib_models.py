"""dlib's two face detectors and its 68 landmarks; their files are in the package face_recognition_models."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import cv2
import dlib
import numpy as np
from jaxtyping import Float64, UInt8

from emotion_pipeline.faces.boxes import moved_box
from emotion_pipeline.faces.files import package_file
from emotion_pipeline.faces.pictures import Boxes, Landmarks, Picture, boxes_of
from emotion_pipeline.params import RuntimeParams

Grey = UInt8[np.ndarray, "h w"]
Shape = Float64[np.ndarray, "68 2"]

AROUND = ((0.0, 0.0), (-0.05, 0.0), (0.05, 0.0), (0.0, -0.05), (0.0, 0.05))
"""Shifts of a box, in sides: the landmarks are the median over these."""

ASIDE = (-0.25, -0.15, 0.15, 0.25)
"""Shifts to the side at which else the face is tried: a detector's box is in the middle of a head, dlib's of a face."""

UNSURE = 0.015
"""Mean distance of the five predictions from their median, in sides, above which the box is not where it should be."""


def mmod_file() -> list[Path]:
    """Weights of `dlib_mmod`."""
    return [package_file("face_recognition_models", "models", "mmod_human_face_detector.dat")]


def landmarks_file() -> list[Path]:
    """Trees of `dlib_68`."""
    return [package_file("face_recognition_models", "models", "shape_predictor_68_face_landmarks.dat")]


def dlib_hog(pictures: Iterable[Picture], _: Sequence[Path], threshold: float, __: RuntimeParams) -> Iterator[Boxes]:
    """`hog_boxes` of each picture."""
    return (hog_boxes(picture, threshold) for picture in pictures)


def hog_boxes(picture: Picture, threshold: float = 0.0) -> Boxes:
    """dlib's frontal face detector (HOG, five poses, faces from 80 pixels).

    It is run on grey pictures: the same boxes in most frames, two to three times as fast as on colour.
    """
    found, scores, _ = _hog().run(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 0, threshold)
    return boxes_of((r.left(), r.top(), r.right() + 1, r.bottom() + 1, s) for r, s in zip(found, scores, strict=True))


def dlib_mmod(
    pictures: Iterable[Picture], files: Sequence[Path], threshold: float, _: RuntimeParams
) -> Iterator[Boxes]:
    """dlib's convolutional network (max-margin object detection, King 2015), faces from 40 pixels; seconds a picture.

    On a GPU only with a dlib that was compiled for it.
    """
    network = dlib.cnn_face_detection_model_v1(str(files[0]))
    for picture in pictures:
        found = [(f.rect, f.confidence) for f in network(picture, 0) if f.confidence >= threshold]
        yield boxes_of((r.left(), r.top(), r.right() + 1, r.bottom() + 1, score) for r, score in found)


def dlib_68(faces: Iterable[tuple[Picture, Boxes]], file: Path) -> Iterator[Landmarks]:
    """dlib's ensemble of regression trees (Kazemi and Sullivan 2014), trained on boxes of dlib's HOG detector.

    `faces`: pictures, each with such boxes. A single prediction depends much on where its box lies, so each face is
    predicted from five boxes a little apart, and the median taken. Where the five disagree, as on a head turned to
    the side in the box of another detector, boxes further to the sides are tried, and those taken that agree best.
    """
    predictor = _trees(file)
    for picture, boxes in faces:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        yield np.array([_best(predictor, grey, box[:4]) for box in boxes], np.float32).reshape(-1, 68, 2)


def _best(predictor: dlib.shape_predictor, grey: Grey, box: np.ndarray) -> Shape:
    spread, shape = _median(predictor, grey, box)
    if spread <= UNSURE:
        return shape
    tries = [_median(predictor, grey, moved_box(box, dx, 0.0)) for dx in ASIDE]
    return min([(spread, shape), *tries], key=lambda found: found[0])[1]


def _median(predictor: dlib.shape_predictor, grey: Grey, box: np.ndarray) -> tuple[float, Shape]:
    shapes = np.array([_predicted(predictor, grey, moved_box(box, dx, dy)) for dx, dy in AROUND])
    middle = np.median(shapes, axis=0)
    return float(np.linalg.norm(shapes - middle, axis=-1).mean() / (box[2] - box[0])), middle


def _predicted(predictor: dlib.shape_predictor, grey: Grey, box: np.ndarray) -> Shape:
    x1, y1, x2, y2 = np.rint(box).astype(int).tolist()
    shape = predictor(grey, dlib.rectangle(x1, y1, x2 - 1, y2 - 1))
    return np.array([(p.x, p.y) for p in shape.parts()], np.float64)


@cache
def _hog() -> dlib.fhog_object_detector:
    return dlib.get_frontal_face_detector()


@cache
def _trees(file: Path) -> dlib.shape_predictor:
    return dlib.shape_predictor(str(file))
