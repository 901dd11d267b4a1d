"""Detectors and landmarks of the package face-alignment 1.5 (Bulat and Tzimiropoulos 2017), run from our files.

The package is imported where it is used: that takes seconds.
"""

import textwrap
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from emotion_pipeline.errors import UserError
from emotion_pipeline.faces.pictures import Boxes, Landmarks, Picture, boxes_of, groups, padded
from emotion_pipeline.params import RuntimeParams
from emotion_pipeline.training.device import device_of

Face = tuple[UInt8[np.ndarray, "256 256 3"], Float[np.ndarray, " 2"], float]
"""A face cut out, the centre and the scale (side over `SCALE_SIDE`) of the square it was in."""

SFD_LEAST = 0.05
"""The package's S3FD knows no scores below."""

SFD_PIXELS = 1 << 22
"""Pixels that S3FD sees at once, whatever `runtime.batch`: about 2 GiB of memory."""

SFD_SIDE = 32
"""S3FD sees no smaller picture."""

BLAZEFACE_SIDE = 128
"""Side of BlazeFace's input, in pixels."""

DLIB_SCALE = 195.0
"""Width plus height of a box over the scale of its face, for boxes of dlib's HOG."""

SCALE_SIDE = 200.0
"""Side in pixels of the square of scale 1."""


def fa_sfd(
    pictures: Iterable[Picture], files: Sequence[Path], threshold: float, runtime: RuntimeParams
) -> Iterator[Boxes]:
    """S3FD (Zhang et al. 2017), a VGG-16: seconds a picture on the CPU, where it sees one at a time."""
    from face_alignment.detection.sfd import FaceDetector

    device = device_of(runtime.device)
    detector = _detector(FaceDetector, tuple(files), str(device), "filter_threshold", max(threshold, SFD_LEAST))
    pictures = iter(pictures)
    for first in pictures:
        height, width = (max(side, SFD_SIDE) for side in first.shape[:2])
        most = 1 if device.type == "cpu" else min(runtime.batch, max(SFD_PIXELS // (height * width), 1))
        group = [padded(picture, height, width) for picture in [first, *islice(pictures, most - 1)]]
        yield from map(boxes_of, detector.detect_from_batch(_tensor(group)))


def fa_blazeface(
    pictures: Iterable[Picture], files: Sequence[Path], threshold: float, runtime: RuntimeParams
) -> Iterator[Boxes]:
    """BlazeFace (Bazarevsky et al. 2019) for front cameras: faces from a fifth of the picture.

    The package cuts the middle square out of a picture; here the picture is padded to a square, so no face is lost.
    """
    from face_alignment.detection.blazeface import FaceDetector

    device = str(device_of(runtime.device))
    detector = _detector(FaceDetector, tuple(files), device, "min_score_thresh", threshold)
    small = ((_square(picture), max(picture.shape[:2])) for picture in pictures)
    for group in groups(small, runtime.batch):
        found = detector.detect_from_batch(_tensor([picture for picture, _ in group]))
        for rows, (_, side) in zip(found, group, strict=True):
            yield boxes_of(rows * np.array([side / BLAZEFACE_SIDE] * 4 + [1]))


def fa_yunet(pictures: Iterable[Picture], files: Sequence[Path], threshold: float, _: RuntimeParams) -> Iterator[Boxes]:
    """`yunet` through the package; on the CPU, whatever the device."""
    from face_alignment.detection.yunet import FaceDetector

    detector = _detector(FaceDetector, tuple(files), "cpu", "score_threshold", threshold)
    return (boxes_of(detector.detect_from_image(picture)) for picture in pictures)


def fa_scrfd(
    pictures: Iterable[Picture], files: Sequence[Path], threshold: float, runtime: RuntimeParams
) -> Iterator[Boxes]:
    """SCRFD (Guo et al. 2022) of 2.5 GFLOPs on pictures of 640 pixels; on a GPU with the package onnxruntime-gpu."""
    from face_alignment.detection.scrfd import FaceDetector

    device = str(device_of(runtime.device))
    detector = _detector(FaceDetector, tuple(files), device, "confidence_threshold", threshold)
    return (boxes_of(detector.detect_from_image(picture)) for picture in pictures)


def fa_retinaface(
    pictures: Iterable[Picture], files: Sequence[Path], threshold: float, runtime: RuntimeParams
) -> Iterator[Boxes]:
    """RetinaFace (Deng et al. 2020) with a MobileNet 0.25.

    Deviation: the package gives the network RGB. It was trained on BGR (biubug6/Pytorch_Retinaface), less the means of
    B, G and R, which the package keeps in this order; here it gets BGR.
    """
    from face_alignment.detection.retinaface import FaceDetector

    device = str(device_of(runtime.device))
    detector = _detector(FaceDetector, tuple(files), device, "confidence_threshold", threshold)
    return (boxes_of(detector.detect_from_image(picture[..., ::-1])) for picture in pictures)


def fan_2d(
    faces: Iterable[tuple[Picture, Boxes]], files: Sequence[Path], runtime: RuntimeParams
) -> Iterator[Landmarks]:
    """The network 2D-FAN-4, batched over the faces of several pictures, each face also mirrored.

    `faces`: pictures, each with boxes of dlib's HOG detector.
    Deviation: the package counts pixel centres from 1 and cuts its results to whole numbers. Here they are counted from
    0 and not cut: of the maps that the network was trained on, this gives the landmarks without a shift.
    """
    device = device_of(runtime.device)
    network = _fan(files[0], str(device))
    waiting: deque[int] = deque()  # faces of each picture that is not yet complete
    found: list[np.ndarray] = []

    def single() -> Iterator[Face]:
        for picture, boxes in faces:
            waiting.append(len(boxes))
            yield from (_cut_out(picture, box) for box in boxes)

    def complete() -> Iterator[Landmarks]:
        while waiting and waiting[0] <= len(found):
            count = waiting.popleft()
            yield np.array(found[:count], np.float32).reshape(-1, 68, 2)
            del found[:count]

    for group in groups(single(), runtime.batch):
        found.extend(_landmarks(network, group, device))
        yield from complete()
    yield from complete()


def _cut_out(picture: Picture, box: Float[np.ndarray, " 5"]) -> Face:
    from face_alignment.utils import CENTER_Y_OFFSET, crop

    x1, y1, x2, y2 = box[:4].astype(np.float64)
    centre = np.array([x2 - (x2 - x1) / 2, y2 - (y2 - y1) / 2 - (y2 - y1) * CENTER_Y_OFFSET])
    scale = float((x2 - x1 + y2 - y1) / DLIB_SCALE)
    return crop(picture, centre, scale), centre, scale


def _landmarks(network: nn.Module, group: Sequence[Face], device: torch.device) -> Float[np.ndarray, "n 68 2"]:
    from face_alignment.utils import flip

    crops, centres, scales = zip(*group, strict=True)
    images = _tensor(crops).to(device).float() / 255
    with torch.inference_mode():
        heat = network(images)[-1] + flip(network(flip(images))[-1], is_label=True)
    return heat_maxima(heat.cpu().numpy(), np.array(centres), np.array(scales))


def heat_maxima(
    heat: Float[np.ndarray, "n 68 64 64"], centres: Float[np.ndarray, "n 2"], scales: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 68 2"]:
    """x y in pixels of the picture, of the greatest values in heat maps over squares as in `Face`."""
    from face_alignment.utils import HEATMAP_RESOLUTION, get_preds_fromhm

    cells = get_preds_fromhm(heat)[0].astype(np.float64)
    shares = cells / HEATMAP_RESOLUTION - 0.5
    return centres[:, None] + SCALE_SIDE * scales[:, None, None] * shares - 1


def _tensor(pictures: Sequence[Picture]) -> UInt8[Tensor, "b 3 h w"]:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def _square(picture: Picture) -> UInt8[np.ndarray, "128 128 3"]:
    side = max(picture.shape[:2])
    return cv2.resize(padded(picture, side, side), (BLAZEFACE_SIDE, BLAZEFACE_SIDE), interpolation=cv2.INTER_AREA)


@contextmanager
def _readable(*files: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # torch, NumPy and onnxruntime have no common one
        reason = textwrap.shorten(str(error) or type(error).__name__, 300)
        names = ", ".join(map(str, files))
        raise UserError(f"{names}: not the weights that are expected ({reason}); remove, then run again") from error


@lru_cache(maxsize=1)
def _detector(kind: type, files: tuple[Path, ...], device: str, setting: str, threshold: float) -> Any:
    """A detector of the package; `setting`: its name for the lowest score."""
    paths = dict(zip(("path_to_detector", "path_to_anchor"), map(str, files), strict=False))
    with _readable(*files):
        return kind(device, **paths, **{setting: threshold})


@lru_cache(maxsize=1)
def _fan(file: Path, device: str) -> Any:
    from face_alignment.models import FAN

    network = FAN(4)
    with _readable(file):
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network.to(device).eval()
