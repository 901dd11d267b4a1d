"""The generated sample data set: clips of acted emotions with sound, their truth, and still faces.

    clips/<clip_id>.mp4 .avi .mkv    clips.csv (clip_id, path, split, label, subject)
    truth/<clip_id>.h5               what is really there, see below

Truth: of the labelled person `frame` (n,) int32, the frames with the face; `landmarks` (n, 68, 2) float32 in pixels;
`boxes` (n, 4) float32 x1 y1 x2 y2, the landmarks' bounding box; the same below `second/` for a second person;
`intensity` (t,) float32 of the expression in every frame. Attributes: `emotion` shown, `kind` of oddity,
`apex_frame` and `cut_frame` (-1: none), `face_informative`, `voice_informative`.

The same parameters give the same bytes, whatever the number of workers. Each clip has its own random numbers, from
the seed and its id, so a data set with more takes or subjects holds the clips of the smaller one unchanged.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import cv2

from emotion_pipeline.data.artifact import write_artifact
from emotion_pipeline.data.manifest import SPLITS
from emotion_pipeline.data.tables import write_rows
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.params import SampleParams
from emotion_pipeline.run.process import ends_with_parent
from emotion_pipeline.sample.film import FPS, Plan, film, still
from emotion_pipeline.sample.movie import write_movie

ODD_CLIPS = (
    ("no_face", "train", "sad"), ("no_face", "test", "happy"),
    ("no_sound", "train", "happy"), ("no_sound", "test", "angry"),
    ("two_faces", "train", "surprise"), ("two_faces", "test", "fear"),
    ("cut", "train", "disgust"), ("cut", "val", "happy"),
    ("short", "train", "angry"), ("short", "test", "surprise"),
    ("black_start", "train", "neutral"), ("black_start", "val", "sad"),
    ("unlabelled", "test", ""), ("unlabelled", "test", ""), ("unlabelled", "", ""),
)  # fmt: skip
"""Clips that are odd on purpose: kind, split, label."""

STILL_FOLDERS = {"Training": 1.0, "PublicTest": 0.2, "PrivateTest": 0.2}
"""Folders of FER2013 and their share of `stills_per_emotion`."""

Item = TypeVar("Item")


def make_clips(folder: Path, params: SampleParams, workers: int = 1) -> None:
    """Write the clips, their truth and, last, `clips.csv` into `folder`. `workers` 0: one per core."""
    plans = sorted(_plans(params), key=lambda plan: plan.clip_id)
    for name in ("clips", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _for_each(partial(_make_clip, folder, params), plans, workers)
    rows = [(plan.clip_id, plan.path, plan.split, plan.label, plan.subject) for plan in plans]
    write_rows(folder / "clips.csv", [("clip_id", "path", "split", "label", "subject"), *rows])


def make_stills(folder: Path, params: SampleParams, workers: int = 1) -> None:
    """Write still faces, 48 x 48 grey, as `<Training|PublicTest|PrivateTest>/<class>/<n>.jpg` into `folder`.

    They show the subjects of the train split and people who are in no clip.
    """
    tasks = []
    for name, share in STILL_FOLDERS.items():
        for emotion in EMOTIONS:
            (folder / name / emotion).mkdir(parents=True, exist_ok=True)
            tasks.append((name, emotion, max(1, round(share * params.stills_per_emotion))))
    _for_each(partial(_make_stills, folder, params), tasks, workers)


def _plans(params: SampleParams) -> Iterator[Plan]:
    for split in SPLITS:
        for i in range(getattr(params.subjects, split)):
            subject = f"{split}_{i + 1:02d}"
            for turn in range(params.emotions_per_subject):
                label = EMOTIONS[(i * params.emotions_per_subject + turn) % len(EMOTIONS)]
                for take in range(1, params.takes + 1):
                    yield Plan(f"{subject}_{label}_{take}", split, label, subject, "", label)
    numbers: Counter[str] = Counter()
    for kind, split, label in ODD_CLIPS:
        numbers[kind] += 1
        subject = f"{split}_01" if split else "guest_01"
        shown = label or EMOTIONS[3 * numbers[kind] % len(EMOTIONS)]
        yield Plan(f"odd_{kind}_{numbers[kind]}", split, label, subject, kind, shown)


def _make_clip(folder: Path, params: SampleParams, plan: Plan) -> None:
    made = film(plan, params)
    write_movie(folder / plan.path, made.pictures, FPS, made.sound, made.rate)
    write_artifact(folder / "truth" / f"{plan.clip_id}.h5", plan.clip_id, made.truth)


def _make_stills(folder: Path, params: SampleParams, task: tuple[str, str, int]) -> None:
    usage, emotion, count = task
    for number in range(count):
        picture = still(emotion, number, usage, params)
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        (folder / usage / emotion / f"{number:05d}.jpg").write_bytes(data)


def _for_each(make: Callable[[Item], None], items: Sequence[Item], workers: int) -> None:
    """Call `make` for every item in processes of one thread: a sum's last bits, so perhaps a pixel, go by threads."""
    workers = min(workers or len(os.sched_getaffinity(0)), len(items))
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # read when a worker loads NumPy
    with ProcessPoolExecutor(workers, get_context("spawn"), _prepare_worker) as pool:
        for _ in pool.map(make, items):
            pass


def _prepare_worker() -> None:
    ends_with_parent()
    cv2.setNumThreads(1)
