"""Pictures of faces for fine-tuning the 2D network, section 2.3: read, held out, jittered, batched."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import Path

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

NONE = JitterParams(scale=0, rotation_degrees=0, flip=False)


@dataclass(frozen=True)
class Stills:
    """n encoded pictures, a name for messages and the class of each. Decoded when needed: memory stays small."""

    names: tuple[str, ...]
    encoded: tuple[bytes, ...]
    labels: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, pictures: Iterable[tuple[str, bytes, int]]) -> "Stills":
        """Return pictures that are given one by one: name, encoded picture, class."""
        rows = list(pictures)
        names, encoded, labels = zip(*rows, strict=True) if rows else ((), (), ())
        return cls(names, encoded, np.array(labels, int))

    def part(self, rows: Int[np.ndarray, " k"]) -> "Stills":
        """Return some of the pictures."""
        return Stills(tuple(self.names[i] for i in rows), tuple(self.encoded[i] for i in rows), self.labels[rows])


def read_stills(source: Path, parts: Sequence[str]) -> Stills:
    """Return some parts (`Training`, `PublicTest`, `PrivateTest`) of FER2013, of either layout; perhaps no picture.

    `fer2013.csv` (emotion, pixels, Usage), or a folder `<part>/<class>/<file>`. Raises UserError for a file or a
    folder that is neither.
    """
    if source.suffix == ".csv":
        return Stills.of(_of_csv(source, parts))
    if not source.is_dir():
        raise UserError(f"{source}: no such folder or csv file; set finetune_vgg.stills to FER2013")
    return Stills.of(still for part in parts for still in _of_folder(source / part))


def read_classes(folder: Path) -> Stills:
    """Return the pictures `<folder>/<class>/<file>`, classes in any case (one part of FER2013, or SFEW).

    Raises UserError for a class that is not one of the seven.
    """
    return Stills.of(_of_folder(folder))


def _of_folder(folder: Path) -> Iterator[tuple[str, bytes, int]]:
    for path in sorted(folder.glob("*/*")):
        label = path.parent.name.lower()
        if label not in EMOTIONS:
            raise UserError(f"{path.parent}: expected a folder named as one of {', '.join(EMOTIONS)}")
        yield str(path), path.read_bytes(), EMOTIONS.index(label)


def _of_csv(path: Path, parts: Sequence[str]) -> Iterator[tuple[str, bytes, int]]:
    try:
        table = pd.read_csv(path, usecols=["emotion", "pixels", "Usage"])
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not FER2013's csv file (emotion, pixels, Usage): {error}") from error
    for row in table[table["Usage"].isin(list(parts))].itertuples():
        name, pixels = f"{path}, line {row.Index + 2}", _pixels(str(row.pixels))
        if pixels.size != CSV_SIDE**2 or row.emotion not in range(len(CSV_EMOTIONS)):
            raise UserError(
                f"{name}: expected an emotion from 0 to 6 and {CSV_SIDE**2} pixels from 0 to 255, found emotion"
                f" {row.emotion} and {pixels.size} such pixels; get the file again"
            )
        picture = cv2.imencode(".png", pixels.reshape(CSV_SIDE, CSV_SIDE))[1].tobytes()
        yield name, picture, EMOTIONS.index(CSV_EMOTIONS[row.emotion])


def _pixels(text: str) -> UInt8[np.ndarray, " n"]:
    """Return the numbers from 0 to 255 in a text; none where it holds anything else."""
    words = text.split()
    good = all(word.isdecimal() and int(word) < 256 for word in words)
    return np.array(words if good else [], np.uint8)


def aligned(stills: Stills, margin: float) -> tuple[Stills, int]:
    """Return the pictures with their faces aligned as those of the clips (section 2.3), and how many faces were found.

    A still of FER2013 is 48 x 48 and filled by the face: it is enlarged to 224 x 224 and its border is repeated around
    it, so that the detector sees a whole face. Where it finds none, the enlarged picture is taken as it is.
    """
    framed = (_framed(_decode(stills, row)) for row in range(len(stills.labels)))
    seen, again = tee((picture, hog_boxes(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))[:1]) for picture in framed)
    encoded, found = [], 0
    for (picture, boxes), landmarks in zip(again, dlib_68(seen, *files_of("dlib_68")), strict=True):
        face = picture[FRAME:-FRAME, FRAME:-FRAME]
        if len(boxes):
            face = warp_face(picture, landmarks[0], margin, "replicate")
            found += 1
        encoded.append(_as_jpeg(face))
    return replace(stills, encoded=tuple(encoded)), found


def _as_jpeg(face: UInt8[np.ndarray, "p p 3"]) -> bytes:
    return cv2.imencode(".jpg", face[..., ::-1], JPEG)[1].tobytes()


def _framed(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "g g 3"]:
    picture = cv2.resize(picture, (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_CUBIC)
    return cv2.copyMakeBorder(picture, FRAME, FRAME, FRAME, FRAME, cv2.BORDER_REPLICATE)


def stills_of_tracks(tracks: Mapping[Path, int], per_clip: int) -> Stills:
    """Return at most `per_clip` faces of each track file, evenly spaced over it, with the class of its clip."""
    stills = Stills.of(still for track in sorted(tracks) for still in _of_track(track, tracks[track], per_clip))
    if not stills.names:
        raise UserError(
            f"finetune_vgg: no face in any of {len(tracks)} labelled clips; see failures.csv of stage track"
        )
    return stills


def _of_track(track: Path, label: int, per_clip: int) -> Iterator[tuple[str, bytes, int]]:
    faces = read_faces(track)
    for row in evenly_spaced(len(faces), per_clip):
        yield f"{track}, face {row}", _as_jpeg(faces[row]), label


def hold_out(stills: Stills, share: float, rng: Generator) -> tuple[Stills, Stills]:
    """Split at random into the larger part and `share` of every class, at least one picture of each."""
    held: list[int] = []
    for label in np.unique(stills.labels):
        rows = rng.permutation(np.flatnonzero(stills.labels == label))
        held += rows[: max(1, round(share * len(rows)))].tolist()
    chosen = np.isin(np.arange(len(stills.labels)), held)
    return stills.part(np.flatnonzero(~chosen)), stills.part(np.flatnonzero(chosen))


def batches(
    stills: Stills, batch: int, pixels: int, jitter: JitterParams = NONE, rng: Generator | None = None
) -> Iterator[tuple[UInt8[np.ndarray, "b p p 3"], Int[np.ndarray, " b"]]]:
    """Yield all pictures as (p, p) RGB with their classes: in order and unchanged; with `rng` shuffled and jittered."""
    order = np.arange(len(stills.labels)) if rng is None else rng.permutation(len(stills.labels))
    for rows in np.split(order, range(batch, len(order), batch)):
        pictures = [_decode(stills, int(row)) for row in rows]
        warps = [_random_warp(jitter, rng) for _ in rows] if rng else [np.eye(2)] * len(rows)
        yield np.stack([warped(p, pixels, w) for p, w in zip(pictures, warps, strict=True)]), stills.labels[rows]


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


def _decode(stills: Stills, row: int) -> UInt8[np.ndarray, "h w 3"]:
    picture = cv2.imdecode(np.frombuffer(stills.encoded[row], np.uint8), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise UserError(f"{stills.names[row]}: not a picture; remove or replace it")
    return picture
