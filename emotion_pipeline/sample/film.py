"""One generated clip: a performer acts, is filmed and recorded; the clip's truth is noted."""

import zlib
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy.random import Generator
from scipy.signal import resample_poly

from emotion_pipeline.data.artifact import Artifact, Value
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.params import SampleParams
from emotion_pipeline.sample.expression import APEX, LIDS_CLOSE, intensity_curve, open_mouth
from emotion_pipeline.sample.performer import Performer, performer
from emotion_pipeline.sample.scene import Actor, background, camera, draw, head_motion
from emotion_pipeline.sample.voice import RATE, prosody, speak

FPS = 25
SHORT_FRAMES, BLACK_FRAMES = 9, 8
UNINFORMATIVE = 0.4
"""Share of clips, at difficulty 1, whose face hardly moves. The voice of as many other clips is neutral."""

_FIRST_PERSON = {"train": 0, "val": 1000, "test": 2000, "guest": 3000}
_SIZES = ((360, 288), (360, 288), (320, 240), (384, 288))
_SUFFIXES = (".mp4", ".mp4", ".avi", ".mp4", ".mkv")
_SOUNDS = ((16000, 1), (44100, 2), (48000, 1))


@dataclass(frozen=True)
class Plan:
    """What a clip shows. `kind` is empty or what is odd about it; `shown` is the emotion that is acted."""

    clip_id: str
    split: str
    label: str
    subject: str
    kind: str
    shown: str

    @property
    def path(self) -> str:
        """Return the file, relative to the data set's folder."""
        return f"clips/{self.clip_id}{_SUFFIXES[zlib.crc32(self.clip_id.encode()) % len(_SUFFIXES)]}"


@dataclass(frozen=True)
class Film:
    """A finished clip."""

    pictures: list[UInt8[np.ndarray, "h w 3"]]
    sound: Float[np.ndarray, "s c"] | None
    rate: int  # samples of the sound a second
    truth: Artifact  # what is really there, as `generate` describes it


def generator(seed: int, *names: str) -> Generator:
    """Return random numbers that depend on the seed and the names alone."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


@lru_cache(maxsize=64)
def person_of(subject: str, params: SampleParams) -> Performer:
    """Return the performer of a subject's name such as `train_03` or `guest_01`."""
    split, number = subject.split("_")
    index = _FIRST_PERSON[split] + int(number) - 1
    return performer(index, params.difficulty, generator(params.seed, "person", subject))


def weakness(difficulty: float, rng: Generator) -> tuple[bool, bool]:
    """Draw whether a clip's face shows next to nothing, and whether its voice does: never both, so fusion helps."""
    luck, share = rng.uniform(), UNINFORMATIVE * difficulty
    return luck < share, share <= luck < 2 * share


def film(plan: Plan, params: SampleParams) -> Film:
    """Act, film and record a clip."""
    rng, difficulty = generator(params.seed, plan.clip_id), params.difficulty
    person = person_of(plan.subject, params)
    weak_face, weak_voice = weakness(difficulty, rng)
    frames = SHORT_FRAMES if plan.kind == "short" else int(rng.integers(24, 45))
    cut = frames // 2 if plan.kind == "cut" else -1
    strength = 0.0 if weak_voice else (1.35 - 0.5 * difficulty) * np.exp(rng.normal(0, 0.2 * difficulty))
    way = prosody(plan.shown, strength, 0.15 + 0.6 * difficulty, rng)
    spoken, mouth = speak(frames * RATE // FPS, way, person.pitch, person.tract, rng)
    curve, apex = intensity_curve(frames, rng)
    units = _units(plan.shown, person, curve, weak_face, difficulty, rng)
    open_mouth(units, mouth.reshape(frames, -1).mean(axis=1))
    cast, size = _cast(plan, person, units, params, rng)
    pictures, landmarks = _filmed(cast, size, cut, difficulty, rng)
    if plan.kind == "black_start":
        pictures[:BLACK_FRAMES] = [np.zeros_like(pictures[0])] * BLACK_FRAMES
        apex = max(apex, BLACK_FRAMES)
    rate, channels = _SOUNDS[int(rng.integers(len(_SOUNDS)))]
    sound = None if plan.kind == "no_sound" else _recorded(spoken, rate, channels, difficulty, rng)
    attributes: dict[str, Value] = {
        "emotion": plan.shown,
        "kind": plan.kind,
        "apex_frame": -1 if plan.kind == "no_face" else apex,
        "cut_frame": cut,
        "face_informative": not weak_face and plan.kind != "no_face",
        "voice_informative": not weak_voice and plan.kind != "no_sound",
    }
    arrays = {"intensity": (curve * cast[0].present * (plan.shown != "neutral")).astype(np.float32)}
    for prefix, who, points in zip(("", "second/"), cast, landmarks, strict=False):
        arrays |= {f"{prefix}{name}": array for name, array in _seen(who, points).items()}
    return Film(pictures, sound, rate, Artifact(arrays, attributes))


def _units(
    shown: str, person: Performer, curve: Float[np.ndarray, " t"], weak: bool, difficulty: float, rng: Generator
) -> Float[np.ndarray, "t u"]:
    """Return the action units in each frame: the emotion in the person's way, a trace of another, blinks."""
    strength = person.strength * (1.15 - 0.35 * difficulty) * np.exp(rng.normal(0, 0.3 * difficulty))
    strength = min(strength, 1.15) * (0.1 if weak else 1)
    other = APEX[int(rng.integers(len(EMOTIONS)))] * rng.uniform(0, 0.4 * difficulty)
    chance = np.exp(rng.normal(0, 0.1 + 0.2 * difficulty, len(other)))
    apex = strength * APEX[EMOTIONS.index(shown)] + (0.1 if weak else 0.6) * other
    units = curve[:, None] * np.clip(apex * person.style * chance, 0, 1.35)
    for blink in rng.uniform(0, 90, 3):
        lids = np.exp(-0.5 * ((np.arange(len(curve)) - blink) / 1.1) ** 2)
        units[:, LIDS_CLOSE] = np.maximum(units[:, LIDS_CLOSE], lids)
    return units


def _cast(
    plan: Plan, person: Performer, units: Float[np.ndarray, "t u"], params: SampleParams, rng: Generator
) -> tuple[list[Actor], tuple[int, int]]:
    """Return the labelled person, perhaps a guest behind, and height and width of the pictures."""
    frames, two = len(units), plan.kind == "two_faces"
    width, height = (512, 288) if two else _SIZES[int(rng.integers(len(_SIZES)))]
    scale = (rng.uniform(1.16, 1.36) if height == 288 else rng.uniform(1.08, 1.18)) * (0.95 if two else 1)
    middle = width * (0.3 if two else rng.uniform(0.46, 0.54))
    place = head_motion(frames, person, (middle, 0.54 * height), scale, rng)
    if plan.kind == "cut":
        later = head_motion(frames, person, (middle + 24, 0.58 * height), 0.9 * scale, rng)
        place[frames // 2 :] = later[frames // 2 :]
    number, first = np.arange(frames), {"no_face": frames, "black_start": BLACK_FRAMES}.get(plan.kind, 0)
    cast = [Actor(person, units, place, number >= first)]
    if two:  # a second person, smaller, there only for the middle half of the clip
        guest = person_of(f"guest_{int(rng.integers(2, 9)):02d}", params)
        place = head_motion(frames, guest, (0.76 * width, 0.58 * height), 0.86 * scale, rng)
        there = (number >= frames // 4) & (number < frames - frames // 4)
        cast.append(Actor(guest, np.zeros_like(units), place, there))
    return cast, (height, width)


def _filmed(
    cast: list[Actor], size: tuple[int, int], cut: int, difficulty: float, rng: Generator
) -> tuple[list[UInt8[np.ndarray, "h w 3"]], list[list[Float[np.ndarray, "68 2"]]]]:
    """Return the pictures, in another room from frame `cut` on, and the landmarks of each of the cast in them."""
    pictures = []
    landmarks: list[list[Float[np.ndarray, "68 2"]]] = [[] for _ in cast]
    for frame in range(len(cast[0].present)):
        if frame in (0, cut):
            room, photographed = background(*size, rng), camera(len(cast[0].present), difficulty, rng)
        picture = room
        for who, points in reversed([*zip(cast, landmarks, strict=True)]):
            if who.present[frame]:
                picture, seen = draw(picture, who, frame)
                points.append(seen)
        pictures.append(photographed(picture, frame))
    return pictures, landmarks


def _seen(who: Actor, landmarks: list[Float[np.ndarray, "68 2"]]) -> dict[str, np.ndarray]:
    """Return the frames (n,) with the face, its landmarks (n, 68, 2) there, and its boxes (n, 4) about them."""
    points = np.array(landmarks, dtype=np.float32).reshape(-1, 68, 2)
    boxes = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    return {"frame": np.flatnonzero(who.present).astype(np.int32), "landmarks": points, "boxes": boxes}


def _recorded(
    sound: Float[np.ndarray, " n"], rate: int, channels: int, difficulty: float, rng: Generator
) -> Float[np.ndarray, "s c"]:
    """Return the speech with noise, at the microphone's level, rate and number of channels."""
    noise = np.convolve(rng.normal(0, 1, len(sound)), np.ones(4) / 2, mode="same")
    sound = sound + 10 ** (-(68 - 22 * difficulty) / 20) * noise
    sound = sound * 10 ** (rng.normal(0, 1 + 2 * difficulty) / 20)
    sound = resample_poly(sound, rate // 100, RATE // 100)
    return np.clip(sound[:, None] * [1.0, 0.85][:channels], -0.99, 0.99).astype(np.float32)


def still(emotion: str, number: int, usage: str, params: SampleParams) -> UInt8[np.ndarray, "48 48"]:
    """Return a face that fills a grey picture as in FER2013, of a subject of train or of a person in no clip."""
    rng = generator(params.seed, "still", usage, emotion, str(number))
    people = [f"train_{i + 1:02d}" for i in range(params.subjects.train)] + [f"guest_{i:02d}" for i in range(20, 30)]
    person = person_of(people[int(rng.integers(len(people)))], params)
    curve, mouth = np.array([rng.uniform(0.6, 1.0)]), np.array([rng.uniform(0, 0.5)])
    units = _units(emotion, person, curve, rng.uniform() < 0.1, params.difficulty, rng)
    open_mouth(units, mouth)
    who = Actor(person, units, head_motion(1, person, (80.0, 80.0), 1.2, rng), np.ones(1, bool))
    (picture,), ((points,),) = _filmed([who], (160, 160), -1, params.difficulty, rng)
    low, high = points.min(axis=0), points.max(axis=0)
    half = rng.uniform(0.56, 0.64) * (high - low).max()
    corner = (low + high) / 2 - half + rng.normal(0, 2, 2)
    zoom = 48 / (2 * half)
    move = np.column_stack([np.eye(2) * zoom, -corner * zoom])
    blurred = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), 0.35 / zoom)
    return cv2.warpAffine(blurred, move, (48, 48), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
