"""Points of the generated faces: landmarks of one photograph, and how action units and emotions move them.

The photograph is the astronaut of scikit-image (Eileen Collins, NASA, public domain). All points are in its pixels.
Action units have their numbers in the Facial Action Coding System (Ekman, Friesen, Hager 2002); their size in
pixels was set by eye.
"""

import numpy as np
from jaxtyping import Float
from numpy.random import Generator

from emotion_pipeline.emotions import EMOTIONS


def points(text: str) -> Float[np.ndarray, "n 2"]:
    """Return the points of a text of numbers: x y x y ..."""
    return np.array(text.split(), dtype=np.float64).reshape(-1, 2)


CONTROLS = points(
    """180 103  181 115  181.5 127  182.5 140  186 151  191 160  199 168  210 175.5  222 178  235 176  247 170.5
    256 162  262 152  266 141  268 130  269.5 119  270 107
    189.5 90.2  194 88.6  199 88.6  206 90.2  212.5 92  237.5 93.3  244 92.3  250 91.7  257 92.6  262.5 95.8
    224.5 102  224.5 110.5  224.5 119  224 127  214.5 130.5  219 132.3  224.5 133.5  229 132.7  233.5 131
    192 101  198 97  206 97  212.5 102.8  206 104.3  198.5 103.6
    236 105  242.5 99.8  250 99.5  257.5 103.5  251.5 106  243 106.5
    202 139  209.5 139.6  218 138.8  223.3 139.9  228.5 139  237 140  244.5 140.5
    237.5 148.5  231 153  223 154.3  215.5 152.8  208 148.3
    202.6 139.4  216 142.8  223 143.5  229.5 142.9  244 140.8  230 148.9  223.5 149.7  216.5 149
    208.5 141.4  237.5 141.7  207.8 145.3  238.2 146.4
    194 122  256 124  205 119  246 121  202 128  249 130"""
)
"""Control points in the photograph: 68 landmarks of the iBUG scheme, lips beside the corners (upper 68 69, lower 70
71), cheeks (72 to 77), left and right by turns. Placed by hand: dlib's landmarks are off by some pixels at the lips."""

MIRROR = np.r_[
    16:-1:-1, 26:16:-1, 27:31, 35:30:-1, 45:41:-1, 47, 46, 39:35:-1, 41, 40, 54:47:-1, 59:54:-1, 64:59:-1, 67:64:-1
]
"""Landmark i of a mirrored face is landmark MIRROR[i] of the face."""

UPPER_LIP = (60, 68, 61, 62, 63, 69, 64)
LOWER_LIP = (60, 70, 67, 66, 65, 71, 64)
"""Control points along the inner rims of the lips, from left to right."""

_CENTRE = 224.0
_CORNERS, _UPPER_LIDS, _LOWER_LIDS = (48, 54, 60, 64), (37, 38, 43, 44), (40, 41, 46, 47)
_UPPER, _LOWER = (50, 51, 52, 61, 62, 63), (56, 57, 58, 65, 66, 67)
_SIDE_UPPER, _SIDE_LOWER, _CHEEKS = (49, 53, 68, 69), (55, 59, 70, 71), (72, 73, 74, 75)

Moves = list[tuple[tuple[int, ...], int | float, int | float]]
"""Moves of control points: points, pixels outwards from the middle of the face, pixels down."""


def _shift(moves: Moves) -> Float[np.ndarray, "c 2"]:
    shift = np.zeros_like(CONTROLS)
    for chosen, outwards, down in moves:
        side = np.tanh((CONTROLS[list(chosen), 0] - _CENTRE) / 3)
        shift[list(chosen)] += np.stack([outwards * side, np.full(len(chosen), down)], axis=1)
    return shift


UNITS: dict[int, Moves] = {
    # inner and outer brow raiser, brow lowerer
    1: [((21, 22), 0, -5), ((20, 23), 0, -3.6), ((19, 24), 0, -1.4)],
    2: [((17, 26), 0, -3.6), ((18, 25), 0, -4.4), ((19, 24), 0, -4.2), ((20, 23), 0, -2)],
    4: [((21, 22), -2.6, 4.2), ((20, 23), -2, 3.4), ((19, 24), -1.2, 1.8), ((18, 25), -0.5, 0.4)],
    # upper lid raiser, cheek raiser, lid tightener, nose wrinkler
    5: [(_UPPER_LIDS, 0, -1.9)],
    6: [(_CHEEKS, 0.3, -2.6), (_LOWER_LIDS, 0, -1.1), ((36, 45), 0.4, 0.2)],
    7: [(_LOWER_LIDS, 0, -1.1), (_UPPER_LIDS, 0, 0.9)],
    9: [((31, 35), 0.8, -2.8), ((30, 32, 33, 34), 0, -1.6), ((21, 22), -1.2, 2.2), ((74, 75, 76, 77), 0, -2.2),
        (_LOWER_LIDS, 0, -0.7)],
    # upper lip raiser, lip corner puller and depressor, chin raiser
    10: [(_UPPER, 0, -3), (_SIDE_UPPER, 0.4, -2.6), ((76, 77), 0.4, -1.6)],
    12: [(_CORNERS, 5, -5.4), (_SIDE_UPPER, 2.8, -2.8), (_SIDE_LOWER, 2.8, -2.2), (_UPPER, 0, -1.4),
         ((50, 52, 61, 63), 0.8, 0), ((58, 56, 65, 67), 0.8, -0.2), ((76, 77), 1.6, -2)],
    15: [(_CORNERS, 0.4, 4.6), (_SIDE_UPPER, 0, 1.8), (_SIDE_LOWER, 0, 2), ((76, 77), 0, 1)],
    17: [(_LOWER, 0, -1.5), (_UPPER, 0, -0.9), ((7, 8, 9), 0, -1.6)],
    # lip stretcher, lip tightener, lips part, jaw drop, lids close
    20: [(_CORNERS, 5.2, 1), (_SIDE_UPPER, 2.8, 0.3), (_SIDE_LOWER, 2.8, 0.6)],
    23: [((50, 51, 52), 0, 1.7), ((56, 57, 58), 0, -2), (_CORNERS, -2, 0), ((49, 53), -0.8, 1.2),
         ((55, 59), -0.8, -1.2)],
    25: [(_LOWER, 0, 2.6), (_SIDE_LOWER, 0, 1.5)],
    26: [(_LOWER, 0, 10.5), (_SIDE_LOWER, -0.6, 6), (_CORNERS, -2.4, 2.2), (_SIDE_UPPER, -1.2, 0.2),
         ((7, 8, 9), 0, 9), ((6, 10), 0, 6.5), ((5, 11), -0.4, 4), ((4, 12), -0.6, 2)],
    43: [(_UPPER_LIDS, 0, 5.4), (_LOWER_LIDS, 0, -0.5)],
}  # fmt: skip
"""Moves of each action unit at full strength, by its number."""

UNIT_SHIFTS = np.stack([_shift(moves) for moves in UNITS.values()])

NOSE_WRINKLER, LIP_CORNER_PULLER, LIPS_PART, JAW_DROP, LIDS_CLOSE = map([*UNITS].index, (9, 12, 25, 26, 43))
"""Columns of these units in arrays (t, u)."""

RECIPES = {
    "angry": {4: 1.2, 5: 0.5, 7: 0.6, 23: 1.0, 17: 0.3},
    "disgust": {9: 1.2, 10: 1.1, 4: 0.5, 7: 0.7, 15: 0.5, 17: 0.4},
    "fear": {1: 1.0, 2: 0.4, 4: 0.3, 5: 1.1, 20: 1.0, 25: 0.7, 26: 0.2},
    "happy": {12: 1.0, 6: 0.9, 25: 0.9},
    "sad": {1: 1.0, 4: 0.25, 15: 1.1, 17: 0.5, 43: 0.25},
    "neutral": {},
    "surprise": {1: 0.9, 2: 1.0, 5: 0.9, 26: 1.0},
}
"""Strength of the action units at the apex of each emotion."""

NEUTRAL = _shift([
    (_CORNERS, -4.6, 5.8), (_SIDE_UPPER, -2.4, 3.9), (_SIDE_LOWER, -2.4, 1.9), ((50, 51, 52), 0, 2.3),
    ((61, 62, 63), 0, 2.4), ((65, 66, 67), 0, -2.7), ((56, 57, 58), 0, -1.2),
    ((50, 52, 61, 63, 56, 58, 65, 67), -0.7, 0), (_CHEEKS, 0, 1.2), ((76, 77), -1.6, 1.8), (_LOWER_LIDS, 0, 0.5),
    ((7, 8, 9), 0, -1.2),
])  # fmt: skip
"""Shift (c, 2) from the smile of the photograph to a closed, relaxed mouth."""

_SHAPES: list[Moves] = [
    # jaw width, chin length
    [((3, 4, 12, 13), 2.6, 0), ((5, 11), 3.4, 0), ((6, 10), 2.6, 0), ((2, 14), 1.2, 0)],
    [((7, 8, 9), 0, 3.4), ((6, 10), 0, 2.4), ((5, 11), 0, 1.2)],
    # eye distance, opening, slant; nose width, length
    [((*range(36, 48),), 1.7, 0), ((*range(17, 27),), 1.3, 0)], [(_UPPER_LIDS, 0, -0.7), (_LOWER_LIDS, 0, 0.5)],
    [((36, 45), 0, -1.1), ((39, 42), 0, 0.6)],
    [((31, 35), 1.6, 0), ((32, 34), 0.8, 0)], [((30, 31, 32, 33, 34, 35), 0, 2), ((29,), 0, 1.2)],
    # mouth width, lip thickness, mouth height; brow height, slant
    [(_CORNERS, 2, 0), (_SIDE_UPPER, 1.2, 0), (_SIDE_LOWER, 1.2, 0)],
    [((50, 51, 52), 0, -1.1), ((49, 53), 0, -0.6), ((56, 57, 58), 0, 1.3), ((55, 59), 0, 0.7)],
    [((*range(48, 72),), 0, 1.3)], [((*range(17, 27),), 0, -1.3)], [((17, 26), 0, -1), ((21, 22), 0, 0.9)],
]  # fmt: skip
SHAPES = np.stack([_shift(moves) for moves in _SHAPES])
"""Shifts (s, c, 2) by which faces differ between people, at one standard deviation."""

APEX = np.array([[RECIPES[emotion].get(unit, 0.0) for unit in UNITS] for emotion in EMOTIONS])
"""Action units (7, u) at the apex of each emotion, in the order of `EMOTIONS`."""


def intensity_curve(frames: int, rng: Generator) -> tuple[Float[np.ndarray, " t"], int]:
    """Return the strength of the expression in each frame, in [0, 1] (onset, apex, offset), and the apex frame."""
    onset, rise = frames * rng.uniform(0.02, 0.2), frames * rng.uniform(0.15, 0.3)
    hold, fall = frames * rng.uniform(0.2, 0.4), frames * rng.uniform(0.2, 0.4)
    t = np.arange(frames, dtype=np.float64)
    ramps = np.clip([(t - onset) / rise, (onset + rise + hold - t) / fall + 1], 0, 1)
    up, down = ramps * ramps * (3 - 2 * ramps)
    curve = up * down * (1 - 0.04 * np.abs(t - (onset + rise + hold / 2)) / frames)
    return curve, int(np.argmax(curve))


def open_mouth(units: Float[np.ndarray, "t u"], openness: Float[np.ndarray, " t"]) -> None:
    """Open the mouth of the action units `units` for speech, in place. `openness` is 0 for closed lips, 1 at most."""
    for unit, share in ((JAW_DROP, 0.22), (LIPS_PART, 0.25)):
        units[:, unit] = np.maximum(units[:, unit], share * openness)
