"""Detectors and landmarks of the package face-alignment 1.5 (Bulat and Tzimiropoulos 2017), run from our files.

All have been run with random weights only, as their published ones could not be had. The package is imported where it
is used: that takes seconds.
"""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import nn

from emotion_pipeline.errors import UserError
from emotion_pipeline.faces.frames import Boxes, Canvas, Frame, Landmarks, Search, boxes_of, groups, padded
from emotion_pipeline.params import RuntimeParams
from emotion_pipeline.training.device import device_of

Cut = tuple[UInt8[np.ndarray, "256 256 3"], Float[np.ndarray, " 2"], float]  # of a frame: square, centre, scale

SFD_SIDE = 32  # S3FD sees no smaller image
BLAZEFACE_SIDE = 128  # side of BlazeFace's input, in pixels
DLIB_SCALE = 195.0  # width plus height of a box over the scale of its face, for boxes of dlib's HOG
SCALE_SIDE = 200.0  # side of the square of scale 1, in pixels of the frame


def package_detector(name: str, setting: str, shown: Callable[[Frame], Canvas] = lambda frame: frame) -> Search:
    """Return a search with a detector of the package, one frame at a time.

    `setting`: its name for the lowest score; `shown`: what it gets of a frame, with the same upper left corner.
    """

    def search(
        frames: Iterable[Frame], files: Sequence[Path], threshold: float, runtime: RuntimeParams
    ) -> Iterator[Boxes]:
        detector = _detector(name, tuple(files), str(device_of(runtime.device)), setting, threshold)
        for frame in frames:
            yield boxes_of(detector.detect_from_image(shown(frame)))

    return search


def _square(frame: Frame) -> Canvas:
    """Return the frame as part of a square of a side that the package's `int` does not shrink to 127 pixels."""
    side = next(n for n in count(max(frame.shape[:2])) if int(n * (BLAZEFACE_SIDE / n)) == BLAZEFACE_SIDE)
    return padded(frame, side, side)


fa_sfd = package_detector(
    "sfd", "filter_threshold", lambda frame: padded(frame, *(max(side, SFD_SIDE) for side in frame.shape[:2]))
)
"""S3FD (Zhang et al. 2017), a VGG-16: seconds a frame on the CPU."""

fa_blazeface = package_detector("blazeface", "min_score_thresh", _square)
"""BlazeFace (Bazarevsky et al. 2019) for front cameras: faces from a fifth of the frame.

Deviation: the package cuts the middle square out of a frame; here the frame is padded to a square, so no face is lost.
"""

fa_scrfd = package_detector("scrfd", "confidence_threshold")
"""SCRFD (Guo et al. 2022) of 2.5 GFLOPs on images of 640 pixels; on a GPU with the package onnxruntime-gpu."""

fa_retinaface = package_detector("retinaface", "confidence_threshold", lambda frame: frame[..., ::-1])
"""RetinaFace (Deng et al. 2020) with a MobileNet 0.25.

Deviation: the package gives the network RGB. It was trained on BGR (biubug6/Pytorch_Retinaface), less the means of B, G
and R, which the package keeps in this order; here it gets BGR.
"""


def fan_2d(faces: Iterable[tuple[Frame, Boxes]], files: Sequence[Path], runtime: RuntimeParams) -> Iterator[Landmarks]:
    """Yield the landmarks of each frame's boxes by the network 2D-FAN-4, each face also mirrored.

    `faces`: frames, each with boxes of dlib's HOG detector. Faces of several frames are one batch.
    Deviation: the package counts pixel centres from 1 and cuts its results to whole numbers. Here they are counted from
    0 and not cut: of the maps that the network was trained on, this gives the landmarks without a shift.
    """
    device = device_of(runtime.device)
    network = _fan(files[0], str(device))
    cuts = ([_cut_out(frame, box) for box in boxes] for frame, boxes in faces)
    for group in groups(cuts, runtime.batch):
        batches = groups((cut for cuts_of_frame in group for cut in cuts_of_frame), runtime.batch)
        found = [np.zeros((0, 68, 2)), *(_landmarks(network, batch, device) for batch in batches)]
        ends = np.cumsum([len(cuts_of_frame) for cuts_of_frame in group])
        yield from np.split(np.concatenate(found).astype(np.float32), ends[:-1])


def _cut_out(frame: Frame, box: Float[np.ndarray, " 5"]) -> Cut:
    from face_alignment.utils import CENTER_Y_OFFSET, crop

    x1, y1, x2, y2 = box[:4].astype(np.float64)
    centre = np.array([x2 - (x2 - x1) / 2, y2 - (y2 - y1) / 2 - (y2 - y1) * CENTER_Y_OFFSET])
    scale = float((x2 - x1 + y2 - y1) / DLIB_SCALE)
    return crop(frame, centre, scale), centre, scale


def _landmarks(network: nn.Module, group: Sequence[Cut], device: torch.device) -> Float[np.ndarray, "n 68 2"]:
    from face_alignment.utils import flip

    squares, centres, scales = zip(*group, strict=True)
    images = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).to(device).float() / 255
    with torch.inference_mode():
        heat = network(images)[-1] + flip(network(flip(images))[-1], is_label=True)
    return heat_maxima(heat.cpu().numpy(), np.array(centres), np.array(scales))


def heat_maxima(
    heat: Float[np.ndarray, "n 68 64 64"], centres: Float[np.ndarray, "n 2"], scales: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 68 2"]:
    """Return x y, in pixels of the frame, of the greatest values in heat maps over squares as in `Cut`."""
    from face_alignment.utils import HEATMAP_RESOLUTION, get_preds_fromhm

    cells = get_preds_fromhm(heat)[0].astype(np.float64)
    shares = cells / HEATMAP_RESOLUTION - 0.5
    return centres[:, None] + SCALE_SIDE * scales[:, None, None] * shares - 1


def _loaded(files: Sequence[Path], load: Callable[[], Any]) -> Any:
    """Return what `load` returns. Raises UserError that names the files where it fails."""
    try:
        return load()
    except Exception as error:  # torch, NumPy and onnxruntime have no common one
        reason = textwrap.shorten(str(error) or type(error).__name__, 300)
        names = ", ".join(map(str, files))
        raise UserError(f"{names}: not the weights that are expected ({reason}); remove, then run again") from error


@lru_cache(maxsize=1)
def _detector(name: str, files: tuple[Path, ...], device: str, setting: str, threshold: float) -> Any:
    kind = import_module(f"face_alignment.detection.{name}").FaceDetector
    paths = dict(zip(("path_to_detector", "path_to_anchor"), map(str, files), strict=False))
    return _loaded(files, partial(kind, device, **paths, **{setting: threshold}))


@lru_cache(maxsize=1)
def _fan(file: Path, device: str) -> Any:
    from face_alignment.models import FAN

    network = FAN(4)
    _loaded([file], lambda: network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True)))
    return network.to(device).eval()
