"""Move the photographed face by its control points: smooth on the skin, cut along the mouth."""

from functools import cache

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from scipy.interpolate import PchipInterpolator
from scipy.special import expit

from emotion_pipeline.sample.expression import CONTROLS, LOWER_LIP, UPPER_LIP, points

LEFT, TOP, RIGHT, BOTTOM = 150, 56, 300, 212
"""The part of the photograph that an expression may change."""

_STEP = 2  # pixels between the points where the movement is worked out
_FADE = 14.0  # pixels over which the movement dies away at its edges
_SOFTNESS = 6.0  # of the interpolating multiquadric, pixels
_INVERSIONS = 7
_ANCHORS = points(
    """166 90  172 70  184 62  202 66  215 68  228 68  242 69  258 74  272 80  284 92  288 116  280 136
    164 112  172 136  174 160  182 180  200 192  222 196  244 192  262 180  274 160
    224 84  208 82  240 84  190 82  262 88"""
)
"""Points of hair, neck and background that stay."""


@cache
def _weights(lower: bool) -> Float[np.ndarray, "p c"]:
    """Movement of every second pixel of the part per movement of a control point, above or below the mouth."""
    other = (49, 50, 51, 52, 53, 61, 62, 63, 68, 69) if lower else (55, 56, 57, 58, 59, 65, 66, 67, 70, 71)
    kept = np.setdiff1d(np.arange(len(CONTROLS)), other)
    nodes = np.concatenate([CONTROLS[kept], _ANCHORS])
    y, x = np.mgrid[TOP:BOTTOM:_STEP, LEFT:RIGHT:_STEP].astype(np.float64)
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    solved = np.linalg.inv(_kernel(nodes, nodes) + 0.02 * np.eye(len(nodes)))
    edge = np.minimum.reduce([x - LEFT, RIGHT - _STEP - x, y - TOP, BOTTOM - _STEP - y]).ravel()
    fade = np.clip(edge / _FADE, 0, 1)
    weights = np.zeros((len(pixels), len(CONTROLS)), dtype=np.float32)
    weights[:, kept] = (_kernel(pixels, nodes) @ solved[:, : len(kept)]) * fade[:, None]
    return weights


def _kernel(a: Float[np.ndarray, "a 2"], b: Float[np.ndarray, "b 2"]) -> Float[np.ndarray, "a b"]:
    distance = np.linalg.norm(a[:, None] - b[None], axis=-1)
    return -np.sqrt(distance**2 + _SOFTNESS**2) + 200.0


def _inverse(shift: Float[np.ndarray, "c 2"], lower: bool) -> Float[np.ndarray, "h w 2"]:
    """How far from each second pixel of the moved face its origin in the photograph lies, in pixels."""
    h, w = (BOTTOM - TOP) // _STEP, (RIGHT - LEFT) // _STEP
    forward = (_weights(lower) @ shift.astype(np.float32)).reshape(h, w, 2)
    target = np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=-1).astype(np.float32)
    back = -forward
    for _ in range(_INVERSIONS):
        x, y = cv2.split(target + back / _STEP)
        there = cv2.remap(forward, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        back = 0.3 * back - 0.7 * there
    return back


def _rim(moved: Float[np.ndarray, "c 2"], chain: tuple[int, ...], x: Float[np.ndarray, " n"]) -> np.ndarray:
    px, py = moved[list(chain)].T
    steps = 0.5 * np.arange(len(px))
    px = np.maximum.accumulate(px - steps) + steps  # strictly from left to right
    return PchipInterpolator(px, py)(np.clip(x, px[0], px[-1]))


def _opening(moved: Float[np.ndarray, "c 2"], scale: int, sharp: float) -> Float[np.ndarray, "h w"]:
    """Share of each pixel of the part that lies between the lips, `scale` pixels per pixel of the photograph."""
    x = np.linspace(moved[60, 0], moved[64, 0], 40)
    upper, lower = _rim(moved, UPPER_LIP, x), _rim(moved, LOWER_LIP, x)
    middle = (upper + lower) / 2
    upper, lower = np.minimum(upper, middle - 0.12), np.maximum(lower, middle + 0.12)
    outline = np.concatenate([np.stack([x, upper], 1), np.stack([x, lower], 1)[::-1]])
    fine = 2 * scale
    outline = (outline - (LEFT, TOP) + 0.5) * fine - 0.5
    canvas = np.zeros(((BOTTOM - TOP) * fine, (RIGHT - LEFT) * fine), np.uint8)
    cv2.fillPoly(canvas, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    small = cv2.resize(canvas, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), sharp).astype(np.float32) / 255


def warp_face(
    rgba: UInt8[np.ndarray, "h w 4"],
    teeth: UInt8[np.ndarray, "h w 3"],
    shift: Float[np.ndarray, "c 2"],
    scale: int,
) -> UInt8[np.ndarray, "h w 4"]:
    """The part of the picture with its control points moved by `shift`.

    `rgba` and `teeth` are the part of the photograph enlarged by `scale`; `shift` is in pixels of the photograph.
    Each lip is drawn from the warp of its own side; between them lie teeth, which stay with the skull, and darkness.
    """
    moved = CONTROLS + shift
    upper, lower = (_enlarged(_inverse(shift, below), scale) for below in (False, True))
    side = _below_mouth(moved, scale)[..., None]
    x, y = _positions(scale)
    source = upper + side * (lower - upper)
    face = cv2.remap(rgba, source[..., 0] + x, source[..., 1] + y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    inside = _opening(moved, scale, 0.35 * scale)
    bounds = _bounds(inside)
    inside = inside[bounds][..., None]
    mouth = _mouth_inside(teeth, moved, shift, scale, bounds)
    face[*bounds, :3] = np.round(face[*bounds, :3] * (1 - inside) + mouth * inside).astype(np.uint8)
    return face


@cache
def _positions(scale: int) -> tuple[Float[np.ndarray, "1 w"], Float[np.ndarray, "h 1"]]:
    x, y = np.arange((RIGHT - LEFT) * scale), np.arange((BOTTOM - TOP) * scale)
    return x[None].astype(np.float32), y[:, None].astype(np.float32)


def _bounds(mask: Float[np.ndarray, "h w"]) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _below_mouth(moved: Float[np.ndarray, "c 2"], scale: int) -> Float[np.ndarray, "h w"]:
    """0 above the line between the lips, 1 below it, a soft step beside the mouth."""
    columns, rows = _positions(scale)
    x, y = ((v.ravel() + 0.5) / scale - 0.5 + start for v, start in ((columns, LEFT), (rows, TOP)))
    line = (_rim(moved, UPPER_LIP, x) + _rim(moved, LOWER_LIP, x)) / 2
    beside = np.maximum(0, np.maximum(moved[60, 0] - x, x - moved[64, 0]))
    step = (y[:, None] - line[None]) / (0.15 + 0.35 * beside)
    return expit(step.astype(np.float32))


def _enlarged(back: Float[np.ndarray, "h w 2"], scale: int) -> Float[np.ndarray, "h2 w2 2"]:
    """The movement at every pixel of the enlarged part, in its pixels."""
    factor = _STEP * scale
    # pixel p of the large grid lies at ((p + 0.5) / scale - 0.5) / step of the small one
    h, w = back.shape[0] * factor, back.shape[1] * factor
    offset = (0.5 / scale - 0.5) / _STEP
    grid = np.array([[1 / factor, 0, offset], [0, 1 / factor, offset]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(back * np.float32(scale), grid, (w, h), flags=flags, borderMode=cv2.BORDER_REPLICATE)


@cache
def _photographed_opening(scale: int) -> Float[np.ndarray, "h w"]:
    return _opening(CONTROLS, scale, 0.8 * scale)


def _mouth_inside(
    teeth: UInt8[np.ndarray, "h w 3"],
    moved: Float[np.ndarray, "c 2"],
    shift: Float[np.ndarray, "c 2"],
    scale: int,
    bounds: tuple[slice, slice],
) -> Float[np.ndarray, "h2 w2 3"]:
    """Darkness, a tongue low in a wide open mouth, and the photographed upper teeth, within `bounds`."""
    rows, columns = bounds
    shape = (columns.stop - columns.start, rows.stop - rows.start)
    top, bottom = moved[62, 1], moved[66, 1]
    y = (np.arange(rows.start, rows.stop) + 0.5) / scale - 0.5 + TOP
    depth = np.clip((y - top) / max(bottom - top, 6.0), 0, 1)[:, None, None].astype(np.float32)
    dark = np.array([38, 14, 14], np.float32) * (1 - depth) + np.array([122, 56, 54], np.float32) * depth
    aside = moved[[60, 64], 0].mean() - CONTROLS[[60, 64], 0].mean()
    move = np.array(
        [[1, 0, aside * scale - columns.start], [0, 1, 0.35 * shift[62, 1] * scale - rows.start]], np.float32
    )
    known = cv2.warpAffine(_photographed_opening(scale), move, shape)[..., None]
    known = known * np.float32(np.clip((bottom - top - 0.8) / 2, 0, 1))  # closed lips show no teeth
    seen = cv2.warpAffine(teeth, move, shape).astype(np.float32)
    return dark * (1 - known) + np.float32(0.9) * seen * known
