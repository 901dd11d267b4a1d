"""dlib's two face detectors and its 68 landmarks."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import cv2
import dlib
import numpy as np
from jaxtyping import Float64, UInt8

from emotion_pipeline.faces.frames import Boxes, Frame, Landmarks, box_iou, boxes_of, moved_box
from emotion_pipeline.params import RuntimeParams

Grey = UInt8[np.ndarray, "h w"]
Shape = Float64[np.ndarray, "68 2"]

AROUND = ((0.0, 0.0), (-0.05, 0.0), (0.05, 0.0), (0.0, -0.05), (0.0, 0.05))  # shifts of a box, in sides
SIDE = 250  # pixels to which a smaller box is enlarged: dlib rounds to whole pixels, which on a small face is jitter
UNSURE = 0.015  # mean distance of the five predictions from their median, in sides, above which the box is misplaced
HOG_SIDE, HOG_THRESHOLD, HOG_OVERLAP = 110, -0.3, 0.3  # then dlib's detector: side of the box, least score and overlap

_hog, _trees = cache(dlib.get_frontal_face_detector), cache(dlib.shape_predictor)


def dlib_hog(frames: Iterable[Frame], _: Sequence[Path], threshold: float, __: RuntimeParams) -> Iterator[Boxes]:
    """Yield `hog_boxes` of each frame in grey: the same boxes in most frames, and two to three times as fast."""
    return (hog_boxes(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), threshold) for frame in frames)


def hog_boxes(grey: Grey, threshold: float = 0.0) -> Boxes:
    """Return the boxes of dlib's frontal face detector (HOG, five poses, faces from 80 pixels)."""
    found, scores, _ = _hog().run(grey, 0, threshold)
    return boxes_of((*_edges(rectangle), score) for rectangle, score in zip(found, scores, strict=True))


def _edges(rectangle: dlib.rectangle) -> tuple[int, int, int, int]:
    return rectangle.left(), rectangle.top(), rectangle.right() + 1, rectangle.bottom() + 1


def dlib_mmod(frames: Iterable[Frame], files: Sequence[Path], threshold: float, _: RuntimeParams) -> Iterator[Boxes]:
    """Yield the boxes of dlib's convolutional network (max-margin object detection, King 2015) in each frame.

    It finds faces from 40 pixels and takes seconds a frame. It runs on a GPU only with a dlib that was compiled for it.
    """
    network = dlib.cnn_face_detection_model_v1(str(files[0]))
    for frame in frames:
        found = [face for face in network(frame, 0) if face.confidence >= threshold]
        yield boxes_of((*_edges(face.rect), face.confidence) for face in found)


def dlib_68(faces: Iterable[tuple[Frame, Boxes]], file: Path) -> Iterator[Landmarks]:
    """Yield the landmarks of each frame's boxes by dlib's regression trees (Kazemi and Sullivan 2014).

    `faces`: frames, each with boxes of dlib's HOG detector, on which the trees were trained. A prediction depends
    much on where its box lies, so each face is predicted from five boxes a little apart, and the median taken. Where
    the five disagree, as on a head turned to the side in the box of another detector, they are placed about the box
    that dlib's own detector sees there, if any.
    """
    predictor = _trees(str(file))
    for frame, boxes in faces:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        yield np.array([_landmarks(predictor, grey, box[:4]) for box in boxes], np.float32).reshape(-1, 68, 2)


def _landmarks(predictor: dlib.shape_predictor, grey: Grey, box: np.ndarray) -> Shape:
    """Return the landmarks of the face in a box, found in an enlarged cut-out of twice the box's side."""
    box = moved_box(box, 0.0, 0.0)
    side = box[2] - box[0]
    zoom = max(SIDE / side, 1.0)
    corner = box[:2] - side / 2
    pixels = int(np.ceil(2 * side * zoom))
    shift = zoom * (0.5 - corner) - 0.5  # from pixel centre to pixel centre
    transform = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    enlarged = cv2.warpAffine(grey, transform, (pixels, pixels), borderMode=cv2.BORDER_REPLICATE)
    box = (box - np.tile(corner, 2)) * zoom
    spread, shape = _median(predictor, enlarged, box)
    if spread > UNSURE and (seen := _hog_box_near(enlarged, box)) is not None:
        _, shape = _median(predictor, enlarged, seen)
    return (shape - shift) / zoom


def _hog_box_near(grey: Grey, box: np.ndarray) -> np.ndarray | None:
    """Return the box of dlib's frontal detector that overlaps the given one most."""
    scale = HOG_SIDE / (box[2] - box[0])
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    boxes = hog_boxes(small, HOG_THRESHOLD)[:, :4].astype(np.float64) / scale
    overlap = box_iou(box[None], boxes)[0]
    return boxes[overlap.argmax()] if overlap.max(initial=0) > HOG_OVERLAP else None


def _median(predictor: dlib.shape_predictor, grey: Grey, box: np.ndarray) -> tuple[float, Shape]:
    """Return the mean distance of five boxes' predictions from their median, in sides, and the median."""
    found = []
    for dx, dy in AROUND:
        x1, y1, x2, y2 = np.rint(moved_box(box, dx, dy)).astype(int).tolist()
        points = predictor(grey, dlib.rectangle(x1, y1, x2 - 1, y2 - 1)).parts()
        found.append([(point.x, point.y) for point in points])
    shapes = np.array(found, np.float64)
    middle = np.median(shapes, axis=0)
    return float(np.linalg.norm(shapes - middle, axis=-1).mean() / (box[2] - box[0])), middle
