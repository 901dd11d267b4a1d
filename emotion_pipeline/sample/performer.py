"""Generated performers: one photographed face, reshaped, recoloured and dressed into many people."""

from dataclasses import dataclass
from functools import cache, lru_cache

import cv2
import numpy as np
import skimage.data
from jaxtyping import Float, UInt8
from numpy.random import Generator

from emotion_pipeline.sample.expression import CONTROLS, LOWER_LIP, NEUTRAL, SHAPES, UNITS, UPPER_LIP, points

SCALE = 2
"""Pixels of a performer's picture per pixel of the photograph."""
HEIGHT, WIDTH = 320, 400
"""The part of the photograph that is used, from its upper left corner."""

_PERSON = points(
    """276 31 260 24 248 18 237 16 227 16 212 22 207 20 193 29 185 38 174 43 163 51 156 58 153 68 155 98 157 104
    167 115 170 116 170 121 174 128 182 132 182 141 185 149 165 149 145 155 128 166 117 182 113 200 100 217 80
    228 60 248 45 272 36 310 24 399 362 399 357 324 356 302 352 287 347 282 346 274 340 262 318 242 303 233 299
    219 289 203 276 189 255 173 256 163 264 149 266 137 275 134 290 117 296 107 300 92 299 72 296 66 296 58 286
    40"""
)
_SKIN = points(
    """186 75 193 77 207 82 224 81 240 83 257 87 266 89 270 97 271 120 276 133 268 137 257 162 254 178 252 186
    230 190 205 186 190 184 186 178 186 166 182 142 180 132 173 127 170 118 178 116 180 105 183 90"""
)
_JUMPER = points(
    """0 399 20 330 44 286 84 252 130 232 160 214 178 190 185 174 200 183 225 188 246 183 254 172 262 190 284
    214 318 232 356 254 380 290 399 340 399 399"""
)
_HEAD = points("0 0 399 0 399 140 267 139 257 162 254 200 186 200 186 165 184 150 181 139 0 139")
_BEARD = points(
    """181 124 186 132 192 142 199 139 205 135 214 134.5 224 136.5 234 135 243 136.5 249 141 257 142 263 134 269
    126 268 140 262 154 250 170 236 178 222 180 208 177 196 168 186 154"""
)
"""Outlines in the photograph: person, skin, a drawn jumper, head and neck, the region of a beard."""

_HAIR = np.array([[1, 1, 1], [0.36, 0.31, 0.29], [0.62, 0.5, 0.4], [1.05, 0.66, 0.44], [1.15, 1.15, 1.17]], np.float32)
"""Colours of hair as factors on grey; the first stands for the colour of the photograph."""

_ROW = np.arange(HEIGHT)[:, None, None]


@dataclass(frozen=True, eq=False)
class Performer:
    """A person: look, way of moving the face, and voice."""

    shape: Float[np.ndarray, "c 2"]  # of the resting face, from the photograph
    style: Float[np.ndarray, " u"]  # factor on each action unit
    strength: float  # factor on all of them
    aspect: tuple[float, float]  # width and height of the head over the photograph's
    mirrored: bool
    tone: float  # of the skin, 0 light .. 1 dark
    warmth: float
    hair: int  # row of the table of colours
    cloth: Float[np.ndarray, "3"]  # colour
    jumper: bool
    beard: float
    brows: float
    glasses: bool
    grain: int  # random numbers of wool and beard
    pitch: float  # Hz
    tract: float  # factor on the formants


def performer(index: int, difficulty: float, rng: Generator) -> Performer:
    """Return person number `index`; neighbouring numbers differ in the traits one sees first."""
    traits = np.clip(rng.normal(0, 0.5 + 0.7 * difficulty, len(SHAPES)), -1.6, 1.6)
    male = index % 2 == 1
    stature = rng.uniform(0, 1)
    return Performer(
        shape=NEUTRAL + np.tensordot(traits, SHAPES, 1),
        style=np.exp(rng.normal(0, 0.1 + 0.35 * difficulty, len(UNITS))),
        strength=np.exp(rng.normal(0, 0.25 * difficulty)),
        aspect=(rng.uniform(0.94, 1.06), rng.uniform(0.96, 1.05)),
        mirrored=bool(rng.integers(2)),
        tone=(0.17 + index * 0.618033988749895) % 1,  # steps of the golden ratio stay apart
        warmth=rng.uniform(-1, 1),
        hair=(index * 2 + index // 5) % len(_HAIR),
        cloth=rng.uniform(0.15, 0.9, 3),
        jumper=index % 3 != 0,
        beard=rng.uniform(0.35, 0.9) if index % 4 == 1 else 0.0,
        brows=rng.uniform(0.35, 0.7) if male else rng.uniform(0.1, 0.35),
        glasses=index % 4 == 2,
        grain=int(rng.integers(2**32)),
        pitch=(105 if male else 190) * (0.85 + 0.4 * stature),
        tract=(0.92 if male else 1.1) * (0.94 + 0.12 * stature),
    )


@cache
def _photograph() -> Float[np.ndarray, "h w 3"]:
    return skimage.data.astronaut()[:HEIGHT, :WIDTH].astype(np.float32) / 255


def _mask(outlines: list[np.ndarray], blur: float, thickness: float = 0.0) -> Float[np.ndarray, "h w 1"]:
    """Return 1 within the outlines, or along them where they are lines of a thickness, and 0 elsewhere; blurred."""
    canvas = np.zeros((HEIGHT * 4, WIDTH * 4), np.uint8)
    fine = [np.round((outline + 0.5) * 4).astype(np.int32) for outline in outlines]
    if thickness:
        cv2.polylines(canvas, fine, False, 255, round(thickness * 4), cv2.LINE_AA)
    else:
        cv2.fillPoly(canvas, fine, 255)
    small = cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return cv2.GaussianBlur(small, (0, 0), blur)[..., None]


def _blend(below: np.ndarray, above: np.ndarray, mask: Float[np.ndarray, "h w 1"]) -> Float[np.ndarray, "h w 3"]:
    return below * (1 - mask) + above * mask


def _enlarged(picture: Float[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h2 w2 c"]:
    large = cv2.resize(picture, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    return np.round(np.clip(large, 0, 1) * 255).astype(np.uint8)


@cache
def teeth() -> UInt8[np.ndarray, "h w 3"]:
    """Return the photograph as it is, enlarged, for what lies between the lips."""
    return _enlarged(_photograph())


@lru_cache(maxsize=64)
def portrait(person: Performer, folds: float) -> UInt8[np.ndarray, "h w 4"]:
    """Return the photograph recoloured into a person, enlarged, with the person's outline as fourth channel.

    `folds` in [0, 1] is how much stays of the folds that the photograph's smile makes between nose and mouth.
    """
    rng = np.random.default_rng(person.grain)
    outline, skin = _mask([_PERSON], 1.0), _mask([_SKIN], 1.2)
    eyes = _mask([CONTROLS[36:42], CONTROLS[42:48]], 0.6)
    picture = _without_folds(_lips_filled(), 1 - folds)
    picture = _blend(picture, _toned(picture, person), skin * (1 - eyes))
    if person.hair:
        grey = picture @ np.array([0.3, 0.59, 0.11], np.float32)
        picture = _blend(picture, grey[..., None] * _HAIR[person.hair], np.clip(outline - skin, 0, 1) * (_ROW < 140))
    brows = _mask([CONTROLS[17:22], CONTROLS[22:27]], 0.8, thickness=2.2)
    picture = picture * (1 - person.brows * brows * np.array([0.8, 0.9, 1], np.float32))
    if person.beard:
        picture = _bearded(picture, person, rng)
    picture, outline = _dressed(picture, person, outline, rng)
    return _enlarged(np.concatenate([picture, np.clip(outline * 1.5 - 0.4, 0, 1)], axis=-1).astype(np.float32))


@cache
def _lips_filled() -> Float[np.ndarray, "h w 3"]:
    """Return the photograph with the colour of the lips between them, so that no teeth come along with the skin."""
    inside = np.clip(2.5 * _mask([CONTROLS[[*UPPER_LIP, *LOWER_LIP[::-1]]]], 0.7), 0, 1)
    around = cv2.GaussianBlur(_photograph() * (1 - inside), (0, 0), 2.5)
    around = around / np.maximum(cv2.GaussianBlur(1 - inside, (0, 0), 2.5), 1e-3)[..., None]
    return _blend(_photograph(), around, inside)


def _without_folds(picture: np.ndarray, amount: float) -> Float[np.ndarray, "h w 3"]:
    folds = [points("208 124 203 128 198 133 196 138"), points("237 124 242 129 247 135 249.5 141")]
    mask = np.clip(1.3 * _mask(folds, 1.6, thickness=6.0), 0, 1) * amount
    return _blend(picture, cv2.GaussianBlur(picture, (0, 0), 5) + 0.02, mask)


def _toned(picture: np.ndarray, person: Performer) -> Float[np.ndarray, "h w 3"]:
    gain = 1.03 - person.tone * np.array([0.3, 0.39, 0.46], np.float32)
    gain = gain * (1 + 0.05 * person.warmth * np.array([1, 0, -1], np.float32))
    return np.clip(picture, 0, 1) ** (1 + 0.25 * person.tone) * gain


def _noise(blur: float, rng: Generator) -> Float[np.ndarray, "h w 1"]:
    return cv2.GaussianBlur(rng.normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), blur)[..., None]


def _bearded(picture: np.ndarray, person: Performer, rng: Generator) -> Float[np.ndarray, "h w 3"]:
    region = _mask([_BEARD], 2.2) * (1 - _mask([CONTROLS[48:60]], 0.7))
    mask = np.clip(region * person.beard * (0.85 + 0.45 * _noise(0.7, rng)), 0, 1)
    colour = np.array([0.5, 0.42, 0.35], np.float32) * _HAIR[person.hair] * (0.5 + 0.5 * picture)
    return _blend(picture, colour, 0.75 * mask)


def _dressed(
    picture: np.ndarray, person: Performer, outline: np.ndarray, rng: Generator
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w 1"]]:
    """Return the picture with the photographed suit dyed, or a jumper over it, and the outline that follows."""
    colour = person.cloth.astype(np.float32)
    if not person.jumper:
        orange = np.clip((picture[..., :1] - picture[..., 2:] - 0.2) * 4, 0, 1) * (_ROW > 190)
        return _blend(picture, picture.max(axis=-1, keepdims=True) * colour * 1.1, orange), outline
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)[..., None]
    light = 0.95 - 0.0016 * np.abs(x - 205) + 0.03 * np.sin(x / 3 + 0.04 * y)
    collar = 1 - 0.35 * _mask([_JUMPER[7:12] + np.array([0, 3])], 1.0, thickness=5.0)
    mask = _mask([_JUMPER], 0.8)
    cloth = colour * ((light + 0.12 * _noise(1.0, rng)) * collar)
    return _blend(picture, cloth, mask), np.maximum(outline * _mask([_HEAD], 0.8), mask)
