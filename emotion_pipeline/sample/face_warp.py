"""Move the photographed face by its control points: smoothly on the skin, with a cut along the mouth."""

from functools import cache

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from scipy.interpolate import PchipInterpolator
from scipy.special import expit

from emotion_pipeline.sample.expression import CONTROLS, LOWER_LIP, UPPER_LIP, points
from emotion_pipeline.sample.performer import SCALE, teeth

_LEFT, _TOP, _RIGHT, _BOTTOM = 150, 56, 300, 212
PART = (slice(_TOP * SCALE, _BOTTOM * SCALE), slice(_LEFT * SCALE, _RIGHT * SCALE))
"""The part of a performer's picture, rows and columns, that an expression may change."""

_ROW = np.arange((_BOTTOM - _TOP) * SCALE, dtype=np.float32)[:, None]
_COLUMN = np.arange((_RIGHT - _LEFT) * SCALE, dtype=np.float32)
_X, _Y = (_COLUMN + 0.5) / SCALE - 0.5 + _LEFT, (_ROW + 0.5) / SCALE - 0.5 + _TOP  # the same in the photograph
_STEP = 2  # pixels of the photograph between the points where the movement is worked out
_FADE = 14.0  # pixels over which the movement dies away at its edges
_SOFTNESS = 6.0  # of the interpolating multiquadric, pixels
_INVERSIONS = 7
_ANCHORS = points(
    """166 90  172 70  184 62  202 66  215 68  228 68  242 69  258 74  272 80  284 92  288 116  280 136
    164 112  172 136  174 160  182 180  200 192  222 196  244 192  262 180  274 160
    224 84  208 82  240 84  190 82  262 88"""
)
"""Points of hair, neck and background that never move."""


@cache
def _weights(lower: bool) -> Float[np.ndarray, "p c"]:
    """Return how far every second pixel of the part follows each control point, above or below the mouth."""
    other = np.r_[49:54, 61:64, 68:70] if lower else np.r_[55:60, 65:68, 70:72]
    kept = np.setdiff1d(np.arange(len(CONTROLS)), other)
    nodes = np.concatenate([CONTROLS[kept], _ANCHORS])
    y, x = np.mgrid[_TOP:_BOTTOM:_STEP, _LEFT:_RIGHT:_STEP].astype(np.float64)
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    solved = np.linalg.inv(_kernel(nodes, nodes) + 0.02 * np.eye(len(nodes)))
    edge = np.minimum.reduce([x - _LEFT, _RIGHT - _STEP - x, y - _TOP, _BOTTOM - _STEP - y]).ravel()
    fade = np.clip(edge / _FADE, 0, 1)
    weights = np.zeros((len(pixels), len(CONTROLS)), dtype=np.float32)
    weights[:, kept] = (_kernel(pixels, nodes) @ solved[:, : len(kept)]) * fade[:, None]
    return weights


def _kernel(a: Float[np.ndarray, "a 2"], b: Float[np.ndarray, "b 2"]) -> Float[np.ndarray, "a b"]:
    distance = np.linalg.norm(a[:, None] - b[None], axis=-1)
    return -np.sqrt(distance**2 + _SOFTNESS**2) + 200.0


def _back(shift: Float[np.ndarray, "c 2"], lower: bool) -> Float[np.ndarray, "h w 2"]:
    """Return how far from each pixel of the moved part its origin lies, above or below the mouth, in its pixels."""
    h, w = (_BOTTOM - _TOP) // _STEP, (_RIGHT - _LEFT) // _STEP
    forward = (_weights(lower) @ shift.astype(np.float32)).reshape(h, w, 2)
    target = np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=-1).astype(np.float32)
    back = -forward
    for _ in range(_INVERSIONS):
        x, y = cv2.split(target + back / _STEP)
        there = cv2.remap(forward, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        back = 0.3 * back - 0.7 * there
    # pixel p of the part lies at ((p + 0.5) / SCALE - 0.5) / _STEP of this grid
    zoom, offset = 1 / (_STEP * SCALE), (0.5 / SCALE - 0.5) / _STEP
    grid = np.array([[zoom, 0, offset], [0, zoom, offset]], np.float32)
    flags, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (_COLUMN.size, _ROW.size)
    return cv2.warpAffine(back * np.float32(SCALE), grid, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _rim(moved: Float[np.ndarray, "c 2"], chain: tuple[int, ...], x: Float[np.ndarray, " n"]) -> np.ndarray:
    px, py = moved[list(chain)].T
    steps = 0.5 * np.arange(len(px))
    px = np.maximum.accumulate(px - steps) + steps  # strictly from left to right
    return PchipInterpolator(px, py)(np.clip(x, px[0], px[-1]))


def _opening(moved: Float[np.ndarray, "c 2"], blur: float) -> Float[np.ndarray, "h w"]:
    """Return the share of each pixel of the part that lies between the lips; `blur` is in pixels of the part."""
    x = np.linspace(moved[60, 0], moved[64, 0], 40)
    upper, lower = _rim(moved, UPPER_LIP, x), _rim(moved, LOWER_LIP, x)
    middle = (upper + lower) / 2
    upper, lower = np.minimum(upper, middle - 0.12), np.maximum(lower, middle + 0.12)
    outline = np.concatenate([np.stack([x, upper], 1), np.stack([x, lower], 1)[::-1]])
    outline = (outline - (_LEFT, _TOP) + 0.5) * 2 * SCALE - 0.5
    canvas = np.zeros((_ROW.size * 2, _COLUMN.size * 2), np.uint8)
    cv2.fillPoly(canvas, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    small = cv2.resize(canvas, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), blur).astype(np.float32) / 255


def warp_face(rgba: UInt8[np.ndarray, "h w 4"], shift: Float[np.ndarray, "c 2"]) -> UInt8[np.ndarray, "h w 4"]:
    """Return the part `PART` of a performer's picture with its control points moved by `shift`.

    `shift` is in pixels of the photograph. Each lip is drawn from the warp of its own side; between the lips lie
    teeth, which stay with the skull, and darkness.
    """
    moved = CONTROLS + shift
    upper, lower = _back(shift, lower=False), _back(shift, lower=True)
    back = upper + _below_mouth(moved)[..., None] * (lower - upper)
    face = cv2.remap(
        rgba, back[..., 0] + _COLUMN, back[..., 1] + _ROW, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    inside = _opening(moved, 0.35 * SCALE)
    x, y, w, h = cv2.boundingRect((inside > 0).astype(np.uint8))
    inside = inside[y : y + h, x : x + w, None]
    mouth = face[y : y + h, x : x + w, :3]
    mouth[:] = np.round(mouth * (1 - inside) + _mouth_inside(shift, x, y, w, h) * inside)
    return face


def _below_mouth(moved: Float[np.ndarray, "c 2"]) -> Float[np.ndarray, "h w"]:
    """Return 0 above the line between the lips, 1 below it, a soft step beside the mouth."""
    line = (_rim(moved, UPPER_LIP, _X) + _rim(moved, LOWER_LIP, _X)) / 2
    beside = np.maximum(0, np.maximum(moved[60, 0] - _X, _X - moved[64, 0]))
    return expit(((_Y - line) / (0.15 + 0.35 * beside)).astype(np.float32))


@cache
def _photographed_opening() -> Float[np.ndarray, "h w"]:
    return _opening(CONTROLS, 0.8 * SCALE)


def _mouth_inside(shift: Float[np.ndarray, "c 2"], x: int, y: int, w: int, h: int) -> Float[np.ndarray, "h w 3"]:
    """Return darkness, a tongue low in a wide open mouth, and the photographed teeth, in a rectangle of the part."""
    moved = CONTROLS + shift
    top, bottom = moved[62, 1], moved[66, 1]
    depth = np.clip((_Y[y : y + h, :, None] - top) / max(bottom - top, 6.0), 0, 1).astype(np.float32)
    dark = np.array([38, 14, 14], np.float32) * (1 - depth) + np.array([122, 56, 54], np.float32) * depth
    aside = moved[[60, 64], 0].mean() - CONTROLS[[60, 64], 0].mean()
    move = np.array([[1, 0, aside * SCALE - x], [0, 1, 0.35 * shift[62, 1] * SCALE - y]], np.float32)
    known = cv2.warpAffine(_photographed_opening(), move, (w, h))[..., None]
    known = known * np.float32(np.clip((bottom - top - 0.8) / 2, 0, 1))  # closed lips show no teeth
    seen = cv2.warpAffine(teeth()[PART], move, (w, h)).astype(np.float32)
    return dark * (1 - known) + np.float32(0.9) * seen * known
