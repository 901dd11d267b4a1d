"""Find the faces in every frame, each frame by itself (section 2.1: "applied frame per frame").

Deviation: the paper used an internal detector of Orange Labs; here the detector is a choice.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from emotion_pipeline.data.artifact import Artifact
from emotion_pipeline.data.media import timed_frames
from emotion_pipeline.errors import ClipError
from emotion_pipeline.faces.centerface import OVERLAP, centerface
from emotion_pipeline.faces.dlib_models import dlib_hog, dlib_mmod
from emotion_pipeline.faces.face_alignment_models import fa_blazeface, fa_retinaface, fa_scrfd, fa_sfd
from emotion_pipeline.faces.frames import Boxes, Canvas, Frame, Search, boxes_of
from emotion_pipeline.params import DetectParams, RuntimeParams


def yunet(frames: Iterable[Frame], files: Sequence[Path], threshold: float, __: RuntimeParams) -> Iterator[Boxes]:
    """Yield the boxes of each frame by OpenCV's YuNet (Wu et al. 2023); on the CPU, whatever the device."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns of its own default here
    detector = cv2.FaceDetectorYN.create(str(files[0]), "", (0, 0), threshold, OVERLAP)
    cv2.utils.logging.setLogLevel(level)
    for frame in frames:
        detector.setInputSize(frame.shape[1::-1])
        _, found = detector.detect(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        rows = [] if found is None else found.tolist()
        yield boxes_of((x, y, x + w, y + h, score) for x, y, w, h, *_, score in rows)


@dataclass(frozen=True)
class Detector:
    """How a detector searches, and where its boxes lie.

    `box`: where dlib's HOG would box the same face, as shift of the centre (x, y) in sides of this detector's box and
    ratio of the sides. Landmark predictors want that box (median over dlib's example photographs, docs/faces.md).
    """

    search: Search
    box: tuple[float, float, float] = (0.0, 0.06, 0.96)  # CenterFace's; of those that were never run, not measured


DETECTORS = {
    "centerface": Detector(centerface),
    "dlib_hog": Detector(dlib_hog, (0.0, 0.0, 1.0)),
    "dlib_mmod": Detector(dlib_mmod, (0.0, 0.0, 1.0)),
    "yunet": Detector(yunet, (0.0, 0.07, 0.96)),
    "fa_yunet": Detector(yunet, (0.0, 0.07, 0.96)),  # the package's is the same call
    "fa_sfd": Detector(fa_sfd),
    "fa_blazeface": Detector(fa_blazeface),
    "fa_scrfd": Detector(fa_scrfd),
    "fa_retinaface": Detector(fa_retinaface),
}
"""By name; `weights.fetch.files_of` gives the files of each."""


def detect_clip(files: Sequence[Path], params: DetectParams, runtime: RuntimeParams) -> Artifact:
    """Return all faces of a clip. `files`: the video, the detector's files.

    `boxes` float32 (n, 5) as `Boxes`; `frame` int32 (n,): number in the video, from 0. Sorted by frame, in a frame by
    falling score. `time` float64: of every frame of the video, in seconds as `media.timed_frames`. Attributes `box_x`,
    `box_y`, `box_ratio`: `Detector`.
    Raises ClipError as `media.timed_frames`, and `empty` for a video without frames.
    """
    video, *weights = files
    seen: list[tuple[float, int, int]] = []  # of each frame: time, height, width

    def decoded() -> Iterator[Frame]:
        for time, frame in timed_frames(video):
            seen.append((time, *frame.shape[:2]))
            yield frame

    found = list(find_faces(decoded(), weights, params, runtime))
    if not found:
        raise ClipError("empty", f"{video.name}: has no frames")
    number = np.repeat(np.arange(len(found), dtype=np.int32), [len(b) for b in found])
    box = dict(zip(("box_x", "box_y", "box_ratio"), DETECTORS[params.detector].box, strict=True))
    times, heights, widths = zip(*seen, strict=True)
    size = {"frames": len(seen), "height": heights[0], "width": widths[0]}
    return Artifact(
        arrays={"boxes": np.concatenate(found), "frame": number, "time": np.array(times)},
        attributes={"detector": params.detector, **size, **box},
        absent="" if len(number) else f"no_face: in none of {len(found)} frames",
    )


def find_faces(
    frames: Iterable[Frame], files: Sequence[Path], params: DetectParams, runtime: RuntimeParams
) -> Iterator[Boxes]:
    """Yield the boxes of every frame, in its own pixels. `frames`: of one size; `files`: the detector's."""
    searched = (_scaled(frame, params.scale) for frame in frames)
    for boxes in DETECTORS[params.detector].search(searched, files, params.threshold, runtime):
        boxes[:, :4] /= params.scale
        yield boxes


def _scaled(frame: Frame, scale: int | float) -> Canvas:
    if scale == 1:
        return frame
    fy, fx = (max(scale, 1 / side) for side in frame.shape[:2])  # so that at least one pixel is left of a side
    return cv2.resize(frame, None, fx=fx, fy=fy, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
