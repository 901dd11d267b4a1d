"""Aligned faces in a file: as they are, or each as a JPEG picture. Needs no detector."""

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

Face = UInt8[np.ndarray, "224 224 3"]


Pieces = Iterator[dict[str, np.ndarray]]


def encode_jpeg(faces: Iterable[Face]) -> Pieces:
    """`faces_jpeg` uint8 (total,), all pictures end to end; `faces_offset` int64 (t + 1,), face i at [i] to [i + 1]."""
    end = 0
    yield {"faces_jpeg": np.zeros(0, np.uint8), "faces_offset": np.array([end])}
    for face in faces:
        stream = cv2.imencode(".jpg", face[..., ::-1], JPEG)[1]
        end += len(stream)
        yield {"faces_jpeg": stream, "faces_offset": np.array([end])}


def encode_raw(faces: Iterable[Face]) -> Pieces:
    """`faces` uint8 (t, 224, 224, 3), RGB."""
    yield {"faces": np.zeros((0, FACE_SIDE, FACE_SIDE, 3), np.uint8)}
    for face in faces:
        yield {"faces": face[None]}


EVERY = slice(None)

ENCODINGS = {"raw": encode_raw, "jpeg": encode_jpeg}
"""From the faces of a clip to the pieces of its file, each face as soon as it is made."""


def read_faces(path: Path, pixels: int = FACE_SIDE, rows: slice = EVERY) -> UInt8[np.ndarray, "t {pixels} {pixels} 3"]:
    """The faces (RGB) of a file of stage track in either encoding, or the given rows of them.

    Made smaller, each pixel is the mean of those it covers. Raises ClipError (`unreadable`) naming the file.
    """
    try:
        with h5py.File(path, "r") as file:
            if "faces" in file:
                faces = iter(inside(file, "faces")[rows])
            else:
                bounds, jpeg = list(pairwise(inside(file, "faces_offset")[()]))[rows], inside(file, "faces_jpeg")
                faces = (_decode(jpeg[a:b]) for a, b in bounds)
            return np.array([_resized(face, pixels) for face in faces], np.uint8).reshape(-1, pixels, pixels, 3)
    except (OSError, LookupError, ValueError, cv2.error) as error:
        raise ClipError("unreadable", f"{path}: cannot read its faces ({error})") from error


def with_mirrored(faces: UInt8[np.ndarray, "t h w 3"], mirrored: bool) -> dict[str, UInt8[np.ndarray, "t h w 3"]]:
    """The faces by the group of a file in which what is made of them goes: "", and "flipped/" for the mirrored ones."""
    return {"": faces} | ({"flipped/": faces[:, :, ::-1]} if mirrored else {})


def _resized(face: Face, pixels: int) -> UInt8[np.ndarray, "{pixels} {pixels} 3"]:
    return face if pixels == FACE_SIDE else cv2.resize(face, (pixels, pixels), interpolation=cv2.INTER_AREA)


def _decode(stream: UInt8[np.ndarray, " n"]) -> Face:
    picture = cv2.imdecode(stream, cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("not a JPEG picture")
    return picture[..., ::-1]
