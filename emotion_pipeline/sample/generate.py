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

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from jaxtyping import Float, UInt8

from emotion_pipeline.data.artifact import atomic, write_artifact
from emotion_pipeline.data.manifest import SPLITS
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import RuntimeParams, SampleParams
from emotion_pipeline.run.workers import run_each
from emotion_pipeline.sample.film import FPS, Plan, film, still

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

CODECS = {".mp4": ("libx264", "aac"), ".mkv": ("libx264", "aac"), ".avi": ("mpeg4", "pcm_s16le")}
"""Video and audio codec by container."""

_OPTIONS = {
    # Without mbtree: on processors with AVX-512 its bits change from run to run.
    "libx264": {"crf": "21", "preset": "veryfast", "threads": "1", "mbtree": "0", "b": "0"},
    "mpeg4": {"qmin": "2", "qmax": "5", "threads": "1", "b": "1500000"},
}
_FLAGS = {"flags": "+bitexact"}  # no name or version of the writer in the file


def make_clips(folder: Path, params: SampleParams, runtime: RuntimeParams) -> None:
    """Write the clips, their truth and, last, `clips.csv` into `folder`. Raises UserError where one fails."""
    plans = sorted(_plans(params), key=lambda plan: plan.clip_id)
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    _make_each(_make_clip, {plan.clip_id: (folder, params, plan) for plan in plans}, runtime)
    with atomic(folder / "clips.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["clip_id", "path", "split", "label", "subject"])
        writer.writerows([p.clip_id, p.path, p.split, p.label, p.subject] for p in plans)


def make_stills(folder: Path, params: SampleParams, runtime: RuntimeParams) -> None:
    """Write still faces, 48 x 48 grey, as `<Training|PublicTest|PrivateTest>/<class>/<n>.jpg` into `folder`.

    They show the subjects of the train split and people who are in no clip.
    """
    tasks = {}
    for name, share in STILL_FOLDERS.items():
        for emotion in EMOTIONS:
            (folder / name / emotion).mkdir(parents=True, exist_ok=True)
            count = max(1, round(share * params.stills_per_emotion))
            tasks[f"{name}/{emotion}"] = (folder, params, name, emotion, count)
    _make_each(_make_stills, tasks, runtime)


def _make_each(make: Callable[..., None], tasks: Mapping[str, tuple], runtime: RuntimeParams) -> None:
    for error in run_each("sample", make, tasks, runtime)[1].values():
        raise UserError(f"sample: {error.detail}; run again")


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
    write_movie(folder / plan.path, made.pictures, made.sound, made.rate)
    write_artifact(folder / "truth" / f"{plan.clip_id}.h5", plan.clip_id, made.truth)


def _make_stills(folder: Path, params: SampleParams, usage: str, emotion: str, count: int) -> None:
    for number in range(count):
        picture = still(emotion, number, usage, params)
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        (folder / usage / emotion / f"{number:05d}.jpg").write_bytes(data)


def write_movie(
    path: Path, pictures: Sequence[UInt8[np.ndarray, "h w 3"]], sound: Float[np.ndarray, "n c"] | None, rate: int
) -> None:
    """Write RGB pictures, `FPS` a second, and sound of one or two channels in [-1, 1), `rate` samples a second.

    The file has the same bytes each time. Without sound (None) it has no sound track.
    """
    video_codec, audio_codec = CODECS[path.suffix]
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        size = {"height": height, "width": width, "pix_fmt": "yuv420p"}
        video: Any = container.add_stream(video_codec, rate=FPS, options=_FLAGS | _OPTIONS[video_codec], **size)
        packets = []
        if sound is not None:
            layout, bits = ("mono", "stereo")[sound.shape[1] - 1], {"b": str(80000 * sound.shape[1])}
            audio: Any = container.add_stream(audio_codec, rate=rate, layout=layout, options=_FLAGS | bits)
            packets = [p for frame in (*_pieces(sound, layout, rate), None) for p in audio.encode(frame)]
        frames = [av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in pictures]
        packets += [p for frame in (*frames, None) for p in video.encode(frame)]
        for packet in sorted(packets, key=lambda p: ((p.dts or 0) * p.time_base, p.stream.index)):
            container.mux(packet)


def _pieces(sound: Float[np.ndarray, "n c"], layout: str, rate: int) -> Iterator[av.AudioFrame]:
    whole = np.round(np.clip(sound, -1, 32767 / 32768) * 32768).astype(np.int16)
    for start in range(0, len(whole), 1024):
        frame = av.AudioFrame.from_ndarray(whole[start : start + 1024].reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield frame
