"""One generated clip: who shows and says what, filmed and recorded, with the truth about it."""

import zlib
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Int32, UInt8
from scipy.signal import resample_poly

from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.params import SampleParams
from emotion_pipeline.sample.expression import APEX, UNIT_INDEX, intensity_curve, open_mouth
from emotion_pipeline.sample.performer import Performer, performer
from emotion_pipeline.sample.scene import Actor, actor, background, camera, draw, head_motion, photographed
from emotion_pipeline.sample.voice import RATE, prosody, speak

FPS = 25
SHORT_FRAMES, BLACK_FRAMES = 9, 8
UNINFORMATIVE = 0.4
"""Share of clips, at difficulty 1, whose face hardly moves; of as many others the voice is neutral."""

_FIRST_PERSON = {"train": 0, "val": 1000, "test": 2000, "guest": 3000}
_SIZES = ((360, 288), (360, 288), (320, 240), (384, 288))
_SUFFIXES = (".mp4", ".mp4", ".avi", ".mp4", ".mkv")
_SOUNDS = ((16000, 1), (44100, 2), (48000, 1))


@dataclass(frozen=True)
class Plan:
    """What a clip is to be. `kind` is empty or what is odd about it; `shown` the emotion acted."""

    clip_id: str
    split: str
    label: str
    subject: str
    kind: str
    shown: str

    @property
    def path(self) -> str:
        """The file, relative to the data set's folder."""
        return f"clips/{self.clip_id}{_SUFFIXES[zlib.crc32(self.clip_id.encode()) % len(_SUFFIXES)]}"


@dataclass(frozen=True)
class Seen:
    """Where a face really is: frames with the face, and its 68 landmarks there in pixels."""

    frame: Int32[np.ndarray, " n"]
    landmarks: Float[np.ndarray, "n 68 2"]

    @property
    def boxes(self) -> Float[np.ndarray, "n 4"]:
        """x1 y1 x2 y2 of the landmarks' bounding box."""
        return np.concatenate([self.landmarks.min(axis=1), self.landmarks.max(axis=1)], axis=1)


@dataclass(frozen=True)
class Film:
    """A finished clip."""

    pictures: list[UInt8[np.ndarray, "h w 3"]]
    sound: Float[np.ndarray, "s c"] | None
    rate: int
    faces: list[Seen]  # the labelled person, then others
    intensity: Float[np.ndarray, " t"]  # of the expression, 0 .. 1; 0 without a face
    apex: int  # frame, or -1 without a face
    cut: int  # first frame after a cut, or -1
    face_informative: bool
    voice_informative: bool


def generator(seed: int, *names: str) -> np.random.Generator:
    """Random numbers of their own for whatever has this name."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


@lru_cache(maxsize=64)
def person_of(subject: str, params: SampleParams) -> Performer:
    """The performer of a subject's name such as `train_03` or `guest_01`."""
    split, number = subject.split("_")
    index = _FIRST_PERSON[split] + int(number) - 1
    return performer(index, params.difficulty, generator(params.seed, "person", subject))


def weakness(difficulty: float, rng: np.random.Generator) -> tuple[bool, bool]:
    """Whether the face, or else the voice, of a clip says next to nothing: never both, so fusion has its use."""
    luck, share = rng.uniform(), UNINFORMATIVE * difficulty
    return luck < share, share <= luck < 2 * share


def film(plan: Plan, params: SampleParams) -> Film:
    """Act, film and record a clip."""
    rng = generator(params.seed, plan.clip_id)
    person = person_of(plan.subject, params)
    weak_face, weak_voice = weakness(params.difficulty, rng)
    frames = SHORT_FRAMES if plan.kind == "short" else int(rng.integers(24, 45))
    spoken, mouth = _utterance(plan, person, frames, weak_voice, params, rng)
    curve, apex = intensity_curve(frames, rng)
    units = _units(plan.shown, person, curve, mouth, weak_face, params, rng)
    pictures, faces = _pictures(plan, person, units, params, rng)
    if plan.kind == "black_start":
        pictures[:BLACK_FRAMES] = [np.zeros_like(pictures[0])] * BLACK_FRAMES
        faces = [_without_first(seen, BLACK_FRAMES) for seen in faces]
        apex = max(apex, BLACK_FRAMES)
    visible = np.isin(np.arange(frames), faces[0].frame)
    rate, channels = _SOUNDS[int(rng.integers(len(_SOUNDS)))]
    return Film(
        pictures=pictures,
        sound=None if plan.kind == "no_sound" else _recorded(spoken, rate, channels, params, rng),
        rate=rate,
        faces=faces,
        intensity=curve * visible * (plan.shown != "neutral"),
        apex=apex if visible.any() else -1,
        cut=frames // 2 if plan.kind == "cut" else -1,
        face_informative=not weak_face and plan.kind != "no_face",
        voice_informative=not weak_voice and plan.kind != "no_sound",
    )


def _utterance(
    plan: Plan, person: Performer, frames: int, weak: bool, params: SampleParams, rng: np.random.Generator
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " t"]]:
    """Speech of the clip's length at `RATE`, and how far the mouth opens for it in each frame."""
    strength = 0.0 if weak else (1.35 - 0.5 * params.difficulty) * float(np.exp(rng.normal(0, 0.2 * params.difficulty)))
    way = prosody(plan.shown, strength, 0.15 + 0.6 * params.difficulty, rng)
    sound, mouth = speak(frames * RATE // FPS, way, person.pitch, person.tract, rng)
    return sound, mouth.reshape(frames, -1).mean(axis=1)


def _units(
    shown: str,
    person: Performer,
    curve: Float[np.ndarray, " t"],
    mouth: Float[np.ndarray, " t"],
    weak: bool,
    params: SampleParams,
    rng: np.random.Generator,
) -> Float[np.ndarray, "t u"]:
    """Action units in each frame: the emotion in the person's way, a trace of another one, speech, blinks."""
    strength = (
        person.strength * (1.15 - 0.35 * params.difficulty) * float(np.exp(rng.normal(0, 0.3 * params.difficulty)))
    )
    strength = min(strength, 1.15) * (0.1 if weak else 1)
    other = APEX[int(rng.integers(len(EMOTIONS)))] * rng.uniform(0, 0.4 * params.difficulty)
    chance = np.exp(rng.normal(0, 0.1 + 0.2 * params.difficulty, len(other)))
    apex = strength * APEX[EMOTIONS.index(shown)] + (0.1 if weak else 0.6) * other
    units = curve[:, None] * np.clip(apex * person.style * chance, 0, 1.35)[None]
    open_mouth(units, mouth)
    lids, t = UNIT_INDEX["lids_close_43"], np.arange(len(curve))
    for blink in rng.uniform(0, 90, 3):
        units[:, lids] = np.maximum(units[:, lids], np.exp(-0.5 * ((t - blink) / 1.1) ** 2))
    return units


def _pictures(
    plan: Plan, person: Performer, units: Float[np.ndarray, "t u"], params: SampleParams, rng: np.random.Generator
) -> tuple[list[UInt8[np.ndarray, "h w 3"]], list[Seen]]:
    frames = len(units)
    two = plan.kind == "two_faces"
    width, height = (512, 288) if two else _SIZES[int(rng.integers(len(_SIZES)))]
    scale = (rng.uniform(1.16, 1.36) if height == 288 else rng.uniform(1.08, 1.18)) * (0.95 if two else 1)
    middle = width * (0.3 if two else rng.uniform(0.46, 0.54))
    cast = [actor(person, units, head_motion(frames, person, (middle, 0.54 * height), scale, rng))]
    if two:
        cast.append(_guest(frames, (0.76 * width, 0.58 * height), 0.86 * scale, params, rng))
    if plan.kind == "no_face":
        cast = []
    shots = [slice(0, frames)]
    if plan.kind == "cut":
        shots = [slice(0, frames // 2), slice(frames // 2, frames)]
        place = head_motion(frames, person, (middle + 24, 0.58 * height), 0.9 * scale, rng)
        cast[0].place[frames // 2 :] = place[frames // 2 :]
    pictures: list[UInt8[np.ndarray, "h w 3"]] = []
    found: list[list[tuple[int, np.ndarray]]] = [[] for _ in cast] or [[]]
    for shot in shots:
        room, how = background(height, width, rng), camera(frames, params.difficulty, rng)
        for frame in range(shot.start, shot.stop):
            picture = room
            for number, who in reversed(list(enumerate(cast))):
                if who.present[frame]:
                    picture, points = draw(picture, who, frame)
                    found[number].append((frame, points))
            pictures.append(photographed(picture, how, frame, rng))
    return pictures, [_seen(rows) for rows in found]


def _guest(
    frames: int, centre: tuple[float, float], scale: float, params: SampleParams, rng: np.random.Generator
) -> Actor:
    """A second person, smaller, there only for the middle half of the clip."""
    person = person_of(f"guest_{int(rng.integers(2, 9)):02d}", params)
    resting = np.zeros((frames, len(UNIT_INDEX)))
    who = actor(person, resting, head_motion(frames, person, centre, scale, rng))
    who.present[: frames // 4] = False
    who.present[frames - frames // 4 :] = False
    return who


def _seen(rows: list[tuple[int, np.ndarray]]) -> Seen:
    frame = np.array([number for number, _ in rows], dtype=np.int32)
    return Seen(frame, np.array([points for _, points in rows], dtype=np.float32).reshape(-1, 68, 2))


def _without_first(seen: Seen, frames: int) -> Seen:
    kept = seen.frame >= frames
    return Seen(seen.frame[kept], seen.landmarks[kept])


def _recorded(
    sound: Float[np.ndarray, " n"], rate: int, channels: int, params: SampleParams, rng: np.random.Generator
) -> Float[np.ndarray, "s c"]:
    """The speech in a room with noise, at the microphone's level, rate and number of channels."""
    noise = np.convolve(rng.normal(0, 1, len(sound)), np.ones(4) / 2, mode="same")
    sound = sound + 10 ** (-(68 - 22 * params.difficulty) / 20) * noise
    sound = sound * 10 ** (rng.normal(0, 1 + 2 * params.difficulty) / 20)
    sound = resample_poly(sound, rate // 100, RATE // 100) if rate != RATE else sound
    balance = [1.0] if channels == 1 else [1.0, 0.85]
    return np.clip(sound[:, None] * balance, -0.99, 0.99).astype(np.float32)


def still(emotion: str, number: int, usage: str, params: SampleParams) -> UInt8[np.ndarray, "48 48"]:
    """A face filling a grey picture as in FER2013, of a subject of the train split or of a person in no clip."""
    rng = generator(params.seed, "still", usage, emotion, str(number))
    people = [f"train_{i + 1:02d}" for i in range(params.subjects.train)] + [f"guest_{i:02d}" for i in range(20, 30)]
    person = person_of(people[int(rng.integers(len(people)))], params)
    curve, mouth = np.array([rng.uniform(0.6, 1.0)]), np.array([rng.uniform(0, 0.5)])
    units = _units(emotion, person, curve, mouth, bool(rng.uniform() < 0.1), params, rng)
    side = 160
    who = actor(person, units, head_motion(1, person, (side / 2, side / 2), 1.2, rng))
    picture, points = draw(background(side, side, rng), who, 0)
    picture = photographed(picture, camera(1, params.difficulty, rng), 0, rng)
    low, high = points.min(axis=0), points.max(axis=0)
    half = rng.uniform(0.56, 0.64) * (high - low).max()
    corner = (low + high) / 2 - half + rng.normal(0, 2, 2)
    zoom = 48 / (2 * half)
    move = np.column_stack([np.eye(2) * zoom, -corner * zoom])
    blurred = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), 0.35 / zoom)
    return cv2.warpAffine(blurred, move, (48, 48), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
