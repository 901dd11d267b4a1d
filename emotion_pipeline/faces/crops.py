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
from emotion_pipeline.faces.warp import FACE_SIDE

JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
"""Quality 95 with the colours at full resolution: an eighth of the bytes, a mean error of about 1 in 255."""

Crop = UInt8[np.ndarray, "224 224 3"]
"""An aligned face, RGB."""

Pieces = Iterator[dict[str, np.ndarray]]
"""Rows of the datasets of a file, to be appended."""


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
            if "faces" in file:
                crops = iter(inside(file, "faces")[rows])
            else:
                bounds, jpeg = list(pairwise(inside(file, "faces_offset")[()]))[rows], inside(file, "faces_jpeg")
                crops = (_decode(jpeg[a:b]) for a, b in bounds)
            return np.array([_resized(crop, pixels) for crop in crops], np.uint8).reshape(-1, pixels, pixels, 3)
    except (OSError, LookupError, ValueError, cv2.error) as error:
        raise ClipError("unreadable", f"{path}: cannot read its faces ({error})") from error


def with_mirrored(crops: UInt8[np.ndarray, "t h w 3"], mirrored: bool) -> dict[str, UInt8[np.ndarray, "t h w 3"]]:
    """Return the crops by the group of a file for what is made of them: "", and "flipped/" for mirrored ones."""
    return {"": crops} | ({"flipped/": crops[:, :, ::-1]} if mirrored else {})


def _resized(crop: Crop, pixels: int) -> UInt8[np.ndarray, "{pixels} {pixels} 3"]:
    return crop if pixels == FACE_SIDE else cv2.resize(crop, (pixels, pixels), interpolation=cv2.INTER_AREA)


def _decode(stream: UInt8[np.ndarray, " n"]) -> Crop:
    crop = cv2.imdecode(stream, cv2.IMREAD_COLOR)
    if crop is None:
        raise ValueError("not a JPEG image")
    return crop[..., ::-1]
