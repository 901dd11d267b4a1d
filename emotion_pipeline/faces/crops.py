"""Crops: faces upright, centred and of one size, and how a file holds them. Needs no detector."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import h5py
import numpy as np
from jaxtyping import Float, Float64, UInt8

from emotion_pipeline.data.artifact import inside
from emotion_pipeline.errors import ClipError

FACE_SIDE = 224  # pixels of a crop along each side: the input of VGG-16

Picture = UInt8[np.ndarray, "h w 3"]
Crop = UInt8[np.ndarray, "224 224 3"]  # an aligned face, RGB
Transform = Float64[np.ndarray, "2 3"]

LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)  # as seen in the frame
STEADY = np.r_[36:48, 27:36]
"""Eyes and nose: the landmarks that speech and expression move least. They alone place the face."""

MEAN_SHAPE = np.array(
    [
        [-0.696, 0.008], [-0.574, -0.083], [-0.422, -0.081], [-0.293, 0.032], [-0.432, 0.062], [-0.583, 0.062],
        [0.293, 0.032], [0.422, -0.081], [0.574, -0.083], [0.696, 0.008], [0.583, 0.062], [0.432, 0.062],
        [0.0, -0.037], [0.0, 0.177], [0.0, 0.390], [0.0, 0.613],
        [-0.231, 0.790], [-0.120, 0.831], [0.0, 0.866], [0.120, 0.831], [0.231, 0.790],
    ]
)  # fmt: skip
"""The STEADY landmarks of a mean face: eye centres at (-0.5, 0) and (0.5, 0), y downwards.

Mean of dlib's landmarks over 79 frontal faces (48 of the Javanese video data set, 31 of dlib's example photographs),
turned upright and made symmetric.
"""

FACE_TOP, FACE_BOTTOM = -0.436, 2.164
"""Upper edge of the brows and tip of the chin of the same mean face: the height of the tight face box."""

BORDERS = {"replicate": cv2.BORDER_REPLICATE, "black": cv2.BORDER_CONSTANT}

JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
"""Quality 95 with the colours at full resolution: an eighth of the bytes, a mean error of about 1 in 255."""

Pieces = Iterator[dict[str, np.ndarray]]  # rows of the datasets of a file, to be appended


def mean_shape_in_crop(margin: float) -> Float64[np.ndarray, "21 2"]:
    """Return where the STEADY landmarks of the mean face lie in the crop.

    Brows to chin is centred and takes 1 / (1 + 2 margin) of the height.
    """
    scale = FACE_SIDE / ((FACE_BOTTOM - FACE_TOP) * (1 + 2 * margin))
    centre = np.array([0, (FACE_TOP + FACE_BOTTOM) / 2])
    return (MEAN_SHAPE - centre) * scale + (FACE_SIDE - 1) / 2


def level_similarity(points: Float[np.ndarray, "68 2"], target: Float[np.ndarray, "21 2"]) -> Transform:
    """Return A, x -> A[:, :2] x + A[:, 2], that levels the eyes and best fits `points[STEADY]` to `target`.

    Its rotation makes the line through the eye centres (each the mean of six landmarks) level; scale and shift are
    the least squares solution under that rotation, in closed form as in Umeyama 1991. The rotation is not part of
    the fit, since the nose of a head turned sideways would tilt the face.
    """
    points = points.astype(np.float64)
    along = points[RIGHT_EYE].mean(axis=0) - points[LEFT_EYE].mean(axis=0)
    cosine, sine = along / np.linalg.norm(along)
    rotation = np.array([[cosine, sine], [-sine, cosine]])
    turned = points[STEADY] @ rotation.T
    centre, target_centre = turned.mean(axis=0), target.mean(axis=0)
    inner = turned - centre
    scale = (inner * (target - target_centre)).sum() / (inner**2).sum()
    return np.column_stack([scale * rotation, target_centre - scale * centre])


def warp_face(frame: Picture, landmarks: Float[np.ndarray, "68 2"], margin: float, border: str) -> Crop:
    """Return the crop of a face, upright. What lies outside the frame is filled according to `border`."""
    transform = level_similarity(landmarks, mean_shape_in_crop(margin))
    shrink = int(1 / np.hypot(transform[0, 0], transform[0, 1]))
    if shrink > 1:  # a face of twice the size or more: average pixels first, so that nothing is skipped
        height, width = frame.shape[:2]
        frame = cv2.resize(frame, (width // shrink, height // shrink), interpolation=cv2.INTER_AREA)
        step = np.array([width / frame.shape[1], height / frame.shape[0]])
        shift = transform[:, 2] + transform[:, :2] @ (step - 1) / 2
        transform = np.column_stack([transform[:, :2] * step, shift])
    return cv2.warpAffine(frame, transform, (FACE_SIDE, FACE_SIDE), flags=cv2.INTER_LINEAR, borderMode=BORDERS[border])


def encode_jpeg(crops: Iterable[Crop]) -> Pieces:
    """Yield `faces_jpeg` uint8 (n,), all images end to end; `faces_offset` int64 (t + 1,), crop i at [i] to [i + 1]."""
    end = 0
    yield {"faces_jpeg": np.zeros(0, np.uint8), "faces_offset": np.array([end])}
    for crop in crops:
        stream = cv2.imencode(".jpg", crop[..., ::-1], JPEG)[1]
        end += len(stream)
        yield {"faces_jpeg": stream, "faces_offset": np.array([end])}


def encode_raw(crops: Iterable[Crop]) -> Pieces:
    """Yield `faces` uint8 (t, 224, 224, 3), RGB."""
    yield {"faces": np.zeros((0, FACE_SIDE, FACE_SIDE, 3), np.uint8)}
    for crop in crops:
        yield {"faces": crop[None]}


ENCODINGS = {"raw": encode_raw, "jpeg": encode_jpeg}
"""From the crops of a clip to the pieces of its file, each as soon as it is made."""


def read_faces(
    path: Path, pixels: int = FACE_SIDE, rows: slice = np.s_[:]
) -> UInt8[np.ndarray, "t {pixels} {pixels} 3"]:
    """Return the crops (RGB) of a file of stage track in either encoding, or the given rows of them.

    Made smaller, each pixel is the mean of those it covers. Raises ClipError (`unreadable`) naming the file.
    """
    try:
        with h5py.File(path, "r") as file:
            crops = [cv2.resize(crop, (pixels, pixels), interpolation=cv2.INTER_AREA) for crop in _crops(file, rows)]
            return np.array(crops, np.uint8).reshape(-1, pixels, pixels, 3)
    except (OSError, LookupError, ValueError, cv2.error) as error:
        raise ClipError("unreadable", f"{path}: cannot read its faces ({error})") from error


def _crops(file: h5py.File, rows: slice) -> Iterator[Crop]:
    if "faces" in file:
        yield from inside(file, "faces")[rows]
        return
    jpeg, bounds = inside(file, "faces_jpeg"), list(pairwise(inside(file, "faces_offset")[()]))
    for first, behind in bounds[rows]:
        crop = cv2.imdecode(jpeg[first:behind], cv2.IMREAD_COLOR)
        if crop is None:
            raise ValueError("not a JPEG image")
        yield crop[..., ::-1]


def evenly_spaced(length: int, wanted: int) -> list[int]:
    """Return up to `wanted` different rows from first to last."""
    return np.unique(np.linspace(0, length - 1, min(wanted, length)).round().astype(int)).tolist()


def with_mirrored(crops: UInt8[np.ndarray, "t h w 3"], mirrored: bool) -> dict[str, UInt8[np.ndarray, "t h w 3"]]:
    """Return the crops by the group of a file for what is made of them: "", and "flipped/" for mirrored ones."""
    return {"": crops} | ({"flipped/": crops[:, :, ::-1]} if mirrored else {})
