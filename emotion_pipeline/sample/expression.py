"""The generated performers' faces as points: the photograph's landmarks, facial action units, the emotions.

The performer is the astronaut photograph of scikit-image (Eileen Collins, NASA, public domain). All points are in
pixels of that picture. Action units follow the Facial Action Coding System (Ekman, Friesen, Hager 2002) by number;
their size in pixels was set by eye.
"""

import numpy as np
from jaxtyping import Float

from emotion_pipeline.emotions import EMOTIONS


def points(text: str) -> Float[np.ndarray, "n 2"]:
    """Pairs of numbers, x y x y ..."""
    return np.array(text.split(), dtype=np.float64).reshape(-1, 2)


LANDMARKS = points(
    """180 103  181 115  181.5 127  182.5 140  186 151  191 160  199 168  210 175.5  222 178  235 176  247 170.5
    256 162  262 152  266 141  268 130  269.5 119  270 107
    189.5 90.2  194 88.6  199 88.6  206 90.2  212.5 92  237.5 93.3  244 92.3  250 91.7  257 92.6  262.5 95.8
    224.5 102  224.5 110.5  224.5 119  224 127  214.5 130.5  219 132.3  224.5 133.5  229 132.7  233.5 131
    192 101  198 97  206 97  212.5 102.8  206 104.3  198.5 103.6
    236 105  242.5 99.8  250 99.5  257.5 103.5  251.5 106  243 106.5
    202 139  209.5 139.6  218 138.8  223.3 139.9  228.5 139  237 140  244.5 140.5
    237.5 148.5  231 153  223 154.3  215.5 152.8  208 148.3
    202.6 139.4  216 142.8  223 143.5  229.5 142.9  244 140.8  230 148.9  223.5 149.7  216.5 149"""
)
"""The 68 points of the iBUG scheme in the photograph, placed by hand (dlib's are off by some pixels at the lips)."""

EXTRA = points(
    """208.5 141.4  237.5 141.7  207.8 145.3  238.2 146.4
    194 122  256 124  205 119  246 121  202 128  249 130"""
)
"""Lips between corner and landmark (upper 68 69, lower 70 71); cheeks (72 to 77), left and right by turns."""

CONTROLS = np.concatenate([LANDMARKS, EXTRA])
MIRROR = np.array(
    [
        *(*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65),
    ]
)
"""Landmark i of a mirrored face is landmark MIRROR[i] of the face."""

UPPER_LIP = (60, 68, 61, 62, 63, 69, 64)
LOWER_LIP = (60, 70, 67, 66, 65, 71, 64)
"""Control points along the inner rims of the lips, from left to right."""

_CENTRE = 224.0
_CORNERS, _UPPER_LIDS, _LOWER_LIDS = (48, 54, 60, 64), (37, 38, 43, 44), (40, 41, 46, 47)
_UPPER, _LOWER = (50, 51, 52, 61, 62, 63), (56, 57, 58, 65, 66, 67)
_SIDE_UPPER, _SIDE_LOWER, _CHEEKS = (49, 53, 68, 69), (55, 59, 70, 71), (72, 73, 74, 75)

Moves = tuple[tuple[tuple[int, ...], float, float], ...]
UNITS: dict[str, Moves] = {
    "inner_brow_raiser_1": (((21, 22), 0.0, -5.0), ((20, 23), 0.0, -3.6), ((19, 24), 0.0, -1.4)),
    "outer_brow_raiser_2": (((17, 26), 0.0, -3.6), ((18, 25), 0.0, -4.4), ((19, 24), 0.0, -4.2), ((20, 23), 0.0, -2.0)),
    "brow_lowerer_4": (
        ((21, 22), -2.6, 4.2),
        ((20, 23), -2.0, 3.4),
        ((19, 24), -1.2, 1.8),
        ((18, 25), -0.5, 0.4),
    ),
    "upper_lid_raiser_5": ((_UPPER_LIDS, 0.0, -1.9),),
    "cheek_raiser_6": ((_CHEEKS, 0.3, -2.6), (_LOWER_LIDS, 0.0, -1.1), ((36, 45), 0.4, 0.2)),
    "lid_tightener_7": ((_LOWER_LIDS, 0.0, -1.1), (_UPPER_LIDS, 0.0, 0.9)),
    "nose_wrinkler_9": (
        ((31, 35), 0.8, -2.8),
        ((30, 32, 33, 34), 0.0, -1.6),
        ((21, 22), -1.2, 2.2),
        ((74, 75, 76, 77), 0.0, -2.2),
        (_LOWER_LIDS, 0.0, -0.7),
    ),
    "upper_lip_raiser_10": ((_UPPER, 0.0, -3.0), (_SIDE_UPPER, 0.4, -2.6), ((76, 77), 0.4, -1.6)),
    "lip_corner_puller_12": (
        (_CORNERS, 5.0, -5.4),
        (_SIDE_UPPER, 2.8, -2.8),
        (_SIDE_LOWER, 2.8, -2.2),
        (_UPPER, 0.0, -1.4),
        ((50, 52, 61, 63), 0.8, 0.0),
        ((58, 56, 65, 67), 0.8, -0.2),
        ((76, 77), 1.6, -2.0),
    ),
    "lip_corner_depressor_15": (
        (_CORNERS, 0.4, 4.6),
        (_SIDE_UPPER, 0.0, 1.8),
        (_SIDE_LOWER, 0.0, 2.0),
        ((76, 77), 0.0, 1.0),
    ),
    "chin_raiser_17": ((_LOWER, 0.0, -1.5), (_UPPER, 0.0, -0.9), ((7, 8, 9), 0.0, -1.6)),
    "lip_stretcher_20": ((_CORNERS, 5.2, 1.0), (_SIDE_UPPER, 2.8, 0.3), (_SIDE_LOWER, 2.8, 0.6)),
    "lip_tightener_23": (
        ((50, 51, 52), 0.0, 1.7),
        ((56, 57, 58), 0.0, -2.0),
        (_CORNERS, -2.0, 0.0),
        ((49, 53), -0.8, 1.2),
        ((55, 59), -0.8, -1.2),
    ),
    "lips_part_25": ((_LOWER, 0.0, 2.6), (_SIDE_LOWER, 0.0, 1.5)),
    "jaw_drop_26": (
        (_LOWER, 0.0, 10.5),
        (_SIDE_LOWER, -0.6, 6.0),
        (_CORNERS, -2.4, 2.2),
        (_SIDE_UPPER, -1.2, 0.2),
        ((7, 8, 9), 0.0, 9.0),
        ((6, 10), 0.0, 6.5),
        ((5, 11), -0.4, 4.0),
        ((4, 12), -0.6, 2.0),
    ),
    "lids_close_43": ((_UPPER_LIDS, 0.0, 5.4), (_LOWER_LIDS, 0.0, -0.5)),
}
"""Displacement of control points at full strength: points, outwards, down."""

RECIPES: dict[str, dict[str, float]] = {
    "angry": {
        "brow_lowerer_4": 1.2,
        "upper_lid_raiser_5": 0.5,
        "lid_tightener_7": 0.6,
        "lip_tightener_23": 1.0,
        "chin_raiser_17": 0.3,
    },
    "disgust": {
        "nose_wrinkler_9": 1.2,
        "upper_lip_raiser_10": 1.1,
        "brow_lowerer_4": 0.5,
        "lid_tightener_7": 0.7,
        "lip_corner_depressor_15": 0.5,
        "chin_raiser_17": 0.4,
    },
    "fear": {
        "inner_brow_raiser_1": 1.0,
        "outer_brow_raiser_2": 0.4,
        "brow_lowerer_4": 0.3,
        "upper_lid_raiser_5": 1.1,
        "lip_stretcher_20": 1.0,
        "lips_part_25": 0.7,
        "jaw_drop_26": 0.2,
    },
    "happy": {"lip_corner_puller_12": 1.0, "cheek_raiser_6": 0.9, "lips_part_25": 0.9},
    "sad": {
        "inner_brow_raiser_1": 1.0,
        "brow_lowerer_4": 0.25,
        "lip_corner_depressor_15": 1.1,
        "chin_raiser_17": 0.5,
        "lids_close_43": 0.25,
    },
    "neutral": {},
    "surprise": {
        "inner_brow_raiser_1": 0.9,
        "outer_brow_raiser_2": 1.0,
        "upper_lid_raiser_5": 0.9,
        "jaw_drop_26": 1.0,
    },
}
"""Strength of the action units at the apex of each emotion."""

_NEUTRAL: Moves = (
    (_CORNERS, -4.6, 5.8),
    (_SIDE_UPPER, -2.4, 3.9),
    (_SIDE_LOWER, -2.4, 1.9),
    ((50, 51, 52), 0.0, 2.3),
    ((61, 62, 63), 0.0, 2.4),
    ((65, 66, 67), 0.0, -2.7),
    ((56, 57, 58), 0.0, -1.2),
    ((50, 52, 61, 63, 56, 58, 65, 67), -0.7, 0.0),
    (_CHEEKS, 0.0, 1.2),
    ((76, 77), -1.6, 1.8),
    (_LOWER_LIDS, 0.0, 0.5),
    ((7, 8, 9), 0.0, -1.2),
)
"""From the smile of the photograph to a closed, relaxed mouth."""

SHAPES: dict[str, Moves] = {
    "jaw_width": (((3, 4, 12, 13), 2.6, 0.0), ((5, 11), 3.4, 0.0), ((6, 10), 2.6, 0.0), ((2, 14), 1.2, 0.0)),
    "chin_length": (((7, 8, 9), 0.0, 3.4), ((6, 10), 0.0, 2.4), ((5, 11), 0.0, 1.2)),
    "eye_distance": (((*range(36, 48),), 1.7, 0.0), ((*range(17, 27),), 1.3, 0.0)),
    "eye_opening": ((_UPPER_LIDS, 0.0, -0.7), (_LOWER_LIDS, 0.0, 0.5)),
    "eye_slant": (((36, 45), 0.0, -1.1), ((39, 42), 0.0, 0.6)),
    "nose_width": (((31, 35), 1.6, 0.0), ((32, 34), 0.8, 0.0)),
    "nose_length": (((30, 31, 32, 33, 34, 35), 0.0, 2.0), ((29,), 0.0, 1.2)),
    "mouth_width": ((_CORNERS, 2.0, 0.0), (_SIDE_UPPER, 1.2, 0.0), (_SIDE_LOWER, 1.2, 0.0)),
    "lip_thickness": (((50, 51, 52), 0.0, -1.1), ((49, 53), 0.0, -0.6), ((56, 57, 58), 0.0, 1.3), ((55, 59), 0.0, 0.7)),
    "mouth_height": (((*range(48, 72),), 0.0, 1.3),),
    "brow_height": (((*range(17, 27),), 0.0, -1.3),),
    "brow_slant": (((17, 26), 0.0, -1.0), ((21, 22), 0.0, 0.9)),
}
"""How faces differ between people, at one standard step: points, outwards, down."""


def _shift(moves: Moves) -> Float[np.ndarray, "c 2"]:
    shift = np.zeros_like(CONTROLS)
    for points, outwards, down in moves:
        for i in points:
            shift[i] += (outwards * np.tanh((CONTROLS[i, 0] - _CENTRE) / 3), down)
    return shift


NEUTRAL_SHIFT = _shift(_NEUTRAL)
UNIT_SHIFTS = np.stack([_shift(moves) for moves in UNITS.values()])
SHAPE_SHIFTS = np.stack([_shift(moves) for moves in SHAPES.values()])
APEX = np.array([[RECIPES[emotion].get(unit, 0.0) for unit in UNITS] for emotion in EMOTIONS])
"""Action units (7, u) at the apex of each emotion, in the order of `EMOTIONS`."""
UNIT_INDEX = {name: i for i, name in enumerate(UNITS)}


def intensity_curve(frames: int, rng: np.random.Generator) -> tuple[Float[np.ndarray, " t"], int]:
    """Strength of the expression in each frame in [0, 1] (onset, apex, offset) and the frame of its apex."""
    onset, rise = frames * rng.uniform(0.02, 0.2), frames * rng.uniform(0.15, 0.3)
    hold, fall = frames * rng.uniform(0.2, 0.4), frames * rng.uniform(0.2, 0.4)
    t = np.arange(frames, dtype=np.float64)
    up = np.clip((t - onset) / rise, 0, 1)
    down = np.clip((onset + rise + hold - t) / fall + 1, 0, 1)
    curve = _smooth(up) * _smooth(down)
    middle = onset + rise + hold / 2
    curve = curve * (1 - 0.04 * np.abs(t - middle) / frames)
    return curve, int(np.argmax(curve))


def open_mouth(units: Float[np.ndarray, "t u"], openness: Float[np.ndarray, " t"]) -> None:
    """Open the mouth of the action units `units` for speech; in place. `openness` is 0 for closed lips, 1 at most."""
    for unit, share in (("jaw_drop_26", 0.22), ("lips_part_25", 0.25)):
        units[:, UNIT_INDEX[unit]] = np.maximum(units[:, UNIT_INDEX[unit]], share * openness)


def _smooth(x: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    return x * x * (3 - 2 * x)
