"""Crops (aligned faces) in a file: as they are, or each as a JPEG image. Needs no detector."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import h5py
import numpy as np
from jaxtyping import UInt8

from emotion_pipeline.data.artifact import inside
from emotion_pipeline.errors import ClipError
from emotion_pipeline.faces.warp import FACE_SIDE, Crop

JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
"""Quality 95 with the colours at full resolution: an eighth of the bytes, a mean error of about 1 in 255."""

Pieces = Iterator[dict[str, np.ndarray]]  # rows of the datasets of a file, to be appended


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


EVERY = slice(None)

ENCODINGS = {"raw": encode_raw, "jpeg": encode_jpeg}
"""From the crops of a clip to the pieces of its file, each as soon as it is made."""


def read_faces(path: Path, pixels: int = FACE_SIDE, rows: slice = EVERY) -> UInt8[np.ndarray, "t {pixels} {pixels} 3"]:
    """Return the crops (RGB) of a file of stage track in either encoding, or the given rows of them.

    Made smaller, each pixel is the mean of those it covers. Raises ClipError (`unreadable`) naming the file.
    """
    try:
        with h5py.File(path, "r") as file:
            crops = _crops(file, rows)
            if pixels != FACE_SIDE:
                crops = (cv2.resize(crop, (pixels, pixels), interpolation=cv2.INTER_AREA) for crop in crops)
            return np.array(list(crops), np.uint8).reshape(-1, pixels, pixels, 3)
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


def with_mirrored(crops: UInt8[np.ndarray, "t h w 3"], mirrored: bool) -> dict[str, UInt8[np.ndarray, "t h w 3"]]:
    """Return the crops by the group of a file for what is made of them: "", and "flipped/" for mirrored ones."""
    return {"": crops} | ({"flipped/": crops[:, :, ::-1]} if mirrored else {})
