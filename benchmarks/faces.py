"""How well each detector finds faces, and how well landmarks lie on them: the tables of docs/faces.md.

    python -m benchmarks.faces ../shared [data/raw/sample]

Needs faces/dlib_examples, clips/wild and clips/javanese in the folder given first, and the generated sample. Of the
clips, frames are taken at even steps; one core each. A detector whose files are not here is named and left out.
"""

import os
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from emotion_pipeline.data.artifact import read_array
from emotion_pipeline.data.media import frames
from emotion_pipeline.errors import UserError
from emotion_pipeline.faces.detect import DETECTORS, find_faces
from emotion_pipeline.faces.dlib_models import dlib_68
from emotion_pipeline.faces.frames import box_iou, moved_box
from emotion_pipeline.params import DetectParams, load_params
from emotion_pipeline.weights.fetch import files_of

SEARCHES = [
    ("centerface", 0.5, 1.0),
    ("centerface", 0.5, 0.5),
    ("yunet", 0.6, 1.0),
    ("yunet", 0.6, 0.5),
    ("dlib_hog", 0.0, 1.0),
    ("dlib_hog", 0.0, 2.0),
    ("dlib_mmod", 0.0, 1.0),
    ("fa_sfd", 0.5, 1.0),
    ("fa_retinaface", 0.5, 1.0),
    ("fa_scrfd", 0.5, 1.0),
    ("fa_blazeface", 0.5, 1.0),
    ("fa_yunet", 0.6, 1.0),
]
"""Detector, threshold (the usual one of each), scale."""

OVERLAP = 0.4
"""A box is right if it overlaps the box around the true landmarks by more (intersection over union)."""

ONE_FACE = {"single_face.mp4": 72, "WolfgangLanger_Pexels.mp4": 472, "bird.mkv": 63, "bbaf2n.mpg": 75}
"""Clips of clips/wild with one face in every frame; bird has a second at the edge, which may be found or not."""
HALF_A_HEAD = (0.9, 1.0)
"""Where that is: from and to, in widths of the picture."""
FIRST_PART = ("face_noface.mov", 72)
"""The clip with a face in its first frames only, and their number."""
NO_FACE = ("no_face.mp4", "five_frames_no_face.mp4")
HAMILTON = "short_hamilton_clip.mp4"

POINTS: dict[int, tuple[list[tuple[int, int]], list[tuple[int, int]]]] = {
    0: ([(66, 201), (547, 72)], []),
    14: ([(62, 201), (543, 72)], []),
    28: ([(393, 214)], [(166, 98)]),
    42: ([(418, 244)], [(197, 88)]),
    84: ([(181, 111)], []),
    98: ([(240, 134)], []),
    112: ([(261, 137)], []),
    126: ([(242, 83)], []),
    140: ([(208, 90)], []),
    154: ([(276, 95)], []),
    168: ([(261, 97)], []),
    182: ([(242, 72)], []),
    196: ([(292, 90)], []),
    210: ([(322, 90)], []),
    224: ([(195, 127), (349, 95), (419, 132), (612, 88), (78, 103)], [(53, 60), (185, 18), (518, 84)]),
    238: ([(192, 129), (354, 92), (418, 132), (615, 88), (81, 95)], [(54, 57), (190, 16)]),
    252: ([(201, 129), (358, 95), (427, 132), (618, 90), (68, 99)], [(101, 25), (205, 18)]),
    266: ([(202, 132), (357, 95), (422, 132), (617, 88), (69, 103)], [(101, 25), (205, 18)]),
}
"""Frames of HAMILTON, looked at: a point in every face, and in every blurred one that may be found or not."""


@dataclass
class Count:
    """What was found in one set of pictures."""

    faces: int = 0
    found: int = 0
    false: int = 0
    pictures: int = 0
    seconds: float = 0.0
    landmark_errors: list[float] = field(default_factory=list)

    def text(self) -> str:
        """Cells of the table: recall, false positives, frames per second."""
        rate = self.pictures / self.seconds
        return (
            f"{100 * self.found / self.faces:.1f} | {self.false} | {rate:.0f}"
            if rate >= 10
            else (f"{100 * self.found / self.faces:.1f} | {self.false} | {rate:.1f}")
        )


Judge = Callable[[np.ndarray, Count], None]
"""Boxes found in a picture, counted into a Count."""


def around(landmarks: np.ndarray) -> np.ndarray:
    """x1 y1 x2 y2 around each face's landmarks."""
    return np.concatenate([landmarks.min(axis=1), landmarks.max(axis=1)], axis=1)


def dlib_examples(shared: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures and the landmarks of their faces, (n, 68, 2)."""
    folder = shared / "faces/dlib_examples"
    for listing in sorted(folder.glob("*_with_face_landmarks.xml")):
        for image in ElementTree.parse(listing).getroot().iter("image"):
            faces = [sorted(box.iter("part"), key=lambda p: int(p.get("name", ""))) for box in image.iter("box")]
            points = [[(float(p.get("x", "")), float(p.get("y", ""))) for p in face] for face in faces]
            yield _read(folder / image.get("file", "")), np.array(points).reshape(-1, 68, 2)
    yield _read(folder / "dogs.jpg"), np.zeros((0, 68, 2))


def sample(folder: Path, step: int = 15) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures and the landmarks of their faces."""
    for truth in sorted((folder / "truth").glob("*.h5")):
        (video,) = (folder / "clips").glob(f"{truth.stem}.*")
        for number, picture in islice(enumerate(frames(video)), 5, None, step):
            faces = [_of_frame(truth, prefix, number) for prefix in ("", "second/")]
            yield picture, np.concatenate(faces)


def _of_frame(truth: Path, prefix: str, number: int) -> np.ndarray:
    try:
        return read_array(truth, f"{prefix}landmarks")[read_array(truth, f"{prefix}frame") == number]
    except Exception:
        if prefix:
            return np.zeros((0, 68, 2))
        raise


def _read(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def against_landmarks(landmarks: np.ndarray) -> Judge:
    """Count the faces whose box is overlapped, and the boxes that overlap no face."""

    def judge(boxes: np.ndarray, count: Count) -> None:
        overlap = box_iou(around(landmarks), boxes)
        count.faces += len(landmarks)
        count.found += int((overlap.max(axis=1, initial=0) > OVERLAP).sum())
        count.false += int((overlap.max(axis=0, initial=0) <= OVERLAP).sum())

    return judge


def against_points(faces: list[tuple[int, int]], perhaps: list[tuple[int, int]]) -> Judge:
    """Count the points that lie in a box, and the boxes in which no point lies."""

    def judge(boxes: np.ndarray, count: Count) -> None:
        def inside(points: list[tuple[int, int]]) -> np.ndarray:
            p = np.array(points, float).reshape(-1, 1, 2)
            return ((p >= boxes[:, :2]) & (p < boxes[:, 2:4])).all(axis=-1)

        count.faces += len(faces)
        count.found += int(inside(faces).any(axis=1).sum())
        count.false += int((~inside(faces + perhaps).any(axis=0)).sum())

    return judge


def expecting(faces: int, width: int = 0) -> Judge:
    """Count against a number of faces; with a width, boxes at HALF_A_HEAD are left out."""

    def judge(boxes: np.ndarray, count: Count) -> None:
        middle = (boxes[:, 0] + boxes[:, 2]) / 2
        number = int((~((middle > HALF_A_HEAD[0] * width) & (middle < HALF_A_HEAD[1] * width))).sum())
        count.faces += faces
        count.found += min(number, faces)
        count.false += max(number - faces, 0)

    return judge


def wild(shared: Path, step: int = 12) -> Iterator[tuple[np.ndarray, Judge]]:
    """Pictures of clips/wild, each with how to judge what is found."""
    folder = shared / "clips/wild"
    for number, picture in enumerate(frames(folder / HAMILTON)):
        if number in POINTS:
            yield picture, against_points(*POINTS[number])
    for name in [*ONE_FACE, FIRST_PART[0], *NO_FACE]:
        for number, picture in islice(enumerate(frames(folder / name)), 0, None, step):
            faces = int(name in ONE_FACE or (name == FIRST_PART[0] and number < FIRST_PART[1]))
            yield picture, expecting(faces, picture.shape[1] if name == "bird.mkv" else 0)


def javanese(shared: Path, step: int = 50) -> Iterator[tuple[np.ndarray, Judge]]:
    """Pictures of clips/javanese: one face in every one that is not black."""
    for video in sorted((shared / "clips/javanese").glob("*.mp4")):
        for picture in islice(frames(video), 0, None, step):
            yield picture, expecting(int(picture.mean() > 10))


def sets(shared: Path, generated: Path) -> dict[str, Iterator[tuple[np.ndarray, Judge, np.ndarray]]]:
    """Pictures, how to judge, and true landmarks where they are known, by the name of the set."""
    none = np.zeros((0, 68, 2))
    return {
        "photographs": ((p, against_landmarks(points), points) for p, points in dlib_examples(shared)),
        "sample": ((p, against_landmarks(points), points) for p, points in sample(generated)),
        "wild": ((p, judge, none) for p, judge in wild(shared)),
        "Javanese": ((p, judge, none) for p, judge in javanese(shared)),
    }


def landmark_error(picture: np.ndarray, box: np.ndarray, detector: str, truth: np.ndarray) -> float:
    """Mean distance of dlib's landmarks from the true ones, over the distance of the outer eye corners."""
    square = np.array([[*moved_box(box[:4], *DETECTORS[detector].box), 1]], np.float32)
    (points,) = next(dlib_68(iter([(picture, square)]), *files_of("dlib_68")))
    return float(np.linalg.norm(points - truth, axis=1).mean() / np.linalg.norm(truth[36] - truth[45]))


def measure(search: tuple[str, float, float], shared: Path, generated: Path) -> dict[str, Count] | str:
    """Of one detector over all sets; or why it cannot be measured."""
    detector, threshold, scale = search
    cv2.setNumThreads(1)
    runtime = load_params().runtime.model_copy(update={"device": "cpu"})
    params = DetectParams(detector=detector, threshold=threshold, scale=scale)
    counts: dict[str, Count] = {}
    try:
        files = files_of(detector)
        for name, pictures in sets(shared, generated).items():
            count = counts[name] = Count()
            for picture, judge, landmarks in pictures:
                began = time.perf_counter()
                (boxes,) = find_faces(iter([picture]), files, params, runtime)
                count.seconds += time.perf_counter() - began
                count.pictures += 1
                judge(boxes, count)
                overlap = box_iou(around(landmarks), boxes)
                for row in np.flatnonzero(overlap.max(axis=1, initial=0) > OVERLAP):
                    best = boxes[overlap[row].argmax()]
                    count.landmark_errors.append(landmark_error(picture, best, detector, landmarks[row]))
    except UserError as error:
        return str(error)
    return counts


def main() -> None:
    """Print the tables."""
    shared, generated = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "data/raw/sample")
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        waiting = [(search, pool.submit(measure, search, shared, generated)) for search in reversed(SEARCHES)]
        results = {search: future.result() for search, future in waiting}
    measured = {s: r for s in SEARCHES if isinstance(r := results[s], dict)}
    first = next(iter(measured.values()))
    described = [f"{name} ({c.pictures} pictures, {c.faces} faces)" for name, c in first.items()]
    print("| detector | scale | " + " | | | ".join(described) + " | | |")
    print("|---|---|" + "---|---|---|" * len(first))
    print("| | |" + " recall % | false | pictures/s |" * len(first))
    for (detector, _, scale), counts in measured.items():
        print(f"| {detector} | {scale:g} | " + " | ".join(count.text() for count in counts.values()) + " |")
    print("\n| boxes of | scale | photographs: mean | median | over 10 % | sample: mean | median | over 10 % |")
    print("|---|---|---|---|---|---|---|---|")
    for (detector, _, scale), counts in measured.items():
        errors = [np.array(counts[name].landmark_errors) for name in ("photographs", "sample")]
        cells = [f"{100 * e.mean():.2f} | {100 * np.median(e):.2f} | {(e > 0.1).sum()} of {len(e)}" for e in errors]
        print(f"| {detector} | {scale:g} | " + " | ".join(cells) + " |")
    for (detector, _, _), result in results.items():
        if isinstance(result, str):
            print(f"\nnot measured: {detector}: {result}")


if __name__ == "__main__":
    main()
