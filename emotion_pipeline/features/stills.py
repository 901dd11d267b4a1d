"""Pictures of faces for fine-tuning the 2D network, section 2.3: read, held out, jittered, batched."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import tee
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from jaxtyping import Float, Int, UInt8
from numpy.random import Generator

from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.faces.crops import FACE_SIDE, JPEG, evenly_spaced, read_faces, warp_face
from emotion_pipeline.faces.dlib_models import dlib_68, hog_boxes
from emotion_pipeline.params import JitterParams
from emotion_pipeline.weights.fetch import files_of

CSV_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Classes 0 to 6 of fer2013.csv."""

CSV_SIDE = 48
"""Pixels of a side of its pictures."""

FRAME = FACE_SIDE // 2
"""Pixels of repeated border around an enlarged still."""


class Still(NamedTuple):
    """An encoded picture with a name for messages and its class. Decoded when needed: memory stays small."""

    name: str
    encoded: bytes
    label: int


def read_stills(source: Path, parts: Sequence[str]) -> list[Still]:
    """Return some parts (`Training`, `PublicTest`, `PrivateTest`) of FER2013, of either layout; perhaps no picture.

    `fer2013.csv` (emotion, pixels, Usage), or a folder `<part>/<class>/<file>`. Raises UserError for a file or a
    folder that is neither.
    """
    if source.suffix == ".csv":
        return list(_of_csv(source, parts))
    if not source.is_dir():
        raise UserError(f"{source}: no such folder or csv file; set finetune_vgg.stills to FER2013")
    return [still for part in parts for still in read_classes(source / part)]


def read_classes(folder: Path) -> list[Still]:
    """Return the pictures `<folder>/<class>/<file>`, classes in any case (one part of FER2013, or SFEW).

    Raises UserError for a class that is not one of the seven.
    """
    stills = []
    for path in sorted(folder.glob("*/*")):
        label = path.parent.name.lower()
        if label not in EMOTIONS:
            raise UserError(f"{path.parent}: expected a folder named as one of {', '.join(EMOTIONS)}")
        stills.append(Still(str(path), path.read_bytes(), EMOTIONS.index(label)))
    return stills


def _of_csv(path: Path, parts: Sequence[str]) -> Iterator[Still]:
    try:
        table = pd.read_csv(path, usecols=["emotion", "pixels", "Usage"])
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not FER2013's csv file (emotion, pixels, Usage): {error}") from error
    for row in table[table["Usage"].isin(list(parts))].itertuples():
        name, words = f"{path}, line {row.Index + 2}", str(row.pixels).split()
        good = all(word.isdecimal() and int(word) < 256 for word in words)
        pixels = np.array(words if good else [], np.uint8)
        if pixels.size != CSV_SIDE**2 or row.emotion not in range(len(CSV_EMOTIONS)):
            raise UserError(
                f"{name}: expected an emotion from 0 to 6 and {CSV_SIDE**2} pixels from 0 to 255, found emotion"
                f" {row.emotion} and {pixels.size} such pixels; get the file again"
            )
        picture = cv2.imencode(".png", pixels.reshape(CSV_SIDE, CSV_SIDE))[1].tobytes()
        yield Still(name, picture, EMOTIONS.index(CSV_EMOTIONS[row.emotion]))


def aligned(stills: Sequence[Still], margin: float) -> tuple[list[Still], int]:
    """Return the pictures with their faces aligned as those of the clips (section 2.3), and how many faces were found.

    A still of FER2013 is 48 x 48 and filled by the face: it is enlarged to 224 x 224 and its border is repeated around
    it, so that the detector sees a whole face. Where it finds none, the enlarged picture is taken as it is.
    """
    framed = (_framed(_decode(still)) for still in stills)
    seen, again = tee((picture, hog_boxes(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))[:1]) for picture in framed)
    made, found = [], 0
    for still, (picture, boxes), landmarks in zip(stills, again, dlib_68(seen, *files_of("dlib_68")), strict=True):
        face = picture[FRAME:-FRAME, FRAME:-FRAME]
        if len(boxes):
            face = warp_face(picture, landmarks[0], margin, "replicate")
            found += 1
        made.append(still._replace(encoded=_as_jpeg(face)))
    return made, found


def _as_jpeg(face: UInt8[np.ndarray, "p p 3"]) -> bytes:
    return cv2.imencode(".jpg", face[..., ::-1], JPEG)[1].tobytes()


def _framed(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "g g 3"]:
    picture = cv2.resize(picture, (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_CUBIC)
    return cv2.copyMakeBorder(picture, FRAME, FRAME, FRAME, FRAME, cv2.BORDER_REPLICATE)


def stills_of_tracks(tracks: Mapping[Path, int], per_clip: int) -> list[Still]:
    """Return at most `per_clip` faces of each track file, evenly spaced over it, with the class of its clip."""
    stills = []
    for track in sorted(tracks):
        faces = read_faces(track)
        rows = evenly_spaced(len(faces), per_clip)
        stills += [Still(f"{track}, face {row}", _as_jpeg(faces[row]), tracks[track]) for row in rows]
    if not stills:
        raise UserError(
            f"finetune_vgg: no face in any of {len(tracks)} labelled clips; see failures.csv of stage track"
        )
    return stills


def hold_out(stills: Sequence[Still], share: float, rng: Generator) -> tuple[list[Still], list[Still]]:
    """Split at random into the larger part and `share` of every class, at least one picture of each."""
    labels = np.array([still.label for still in stills])
    held: list[int] = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        held += rows[: max(1, round(share * len(rows)))].tolist()
    rest = set(range(len(stills))).difference(held)
    return [stills[i] for i in sorted(rest)], [stills[i] for i in sorted(held)]


def batches(
    stills: Sequence[Still], batch: int, pixels: int, jitter: JitterParams | None = None, rng: Generator | None = None
) -> Iterator[tuple[UInt8[np.ndarray, "b p p 3"], Int[np.ndarray, " b"]]]:
    """Yield all pictures as (p, p) RGB with their classes: in order and unchanged; with `rng` shuffled and jittered."""
    order = np.arange(len(stills)) if rng is None else rng.permutation(len(stills))
    for rows in np.split(order, range(batch, len(order), batch)):
        some = [stills[i] for i in rows]
        warps = [_random_warp(jitter, rng) if jitter and rng else np.eye(2) for _ in some]
        pictures = [warped(_decode(still), pixels, warp) for still, warp in zip(some, warps, strict=True)]
        yield np.stack(pictures), np.array([still.label for still in some])


def warped(
    picture: UInt8[np.ndarray, "h w 3"], pixels: int, change: Float[np.ndarray, "2 2"]
) -> UInt8[np.ndarray, "p p 3"]:
    """Return the picture, `pixels` square, turned about its centre by the linear map `change`, bilinear."""
    if max(picture.shape[:2]) > pixels:
        picture = cv2.resize(picture, (pixels, pixels), interpolation=cv2.INTER_AREA)
    height, width = picture.shape[:2]
    linear = change @ np.diag([pixels / width, pixels / height])
    offset = (pixels - 1) / 2 - linear @ [(width - 1) / 2, (height - 1) / 2]
    matrix = np.column_stack([linear, offset])
    return cv2.warpAffine(picture, matrix, (pixels, pixels), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _random_warp(jitter: JitterParams, rng: Generator) -> Float[np.ndarray, "2 2"]:
    scale = rng.uniform(1 - jitter.scale, 1 + jitter.scale)
    angle = np.deg2rad(rng.uniform(-jitter.rotation_degrees, jitter.rotation_degrees))
    mirror = -1.0 if jitter.flip and rng.random() < 0.5 else 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * turn @ np.diag([mirror, 1.0])


def _decode(still: Still) -> UInt8[np.ndarray, "h w 3"]:
    picture = cv2.imdecode(np.frombuffer(still.encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise UserError(f"{still.name}: not a picture; remove or replace it")
    return picture
