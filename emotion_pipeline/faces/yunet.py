"""YuNet (Wu et al. 2023) as it comes with OpenCV; its file is of the OpenCV zoo."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2

from emotion_pipeline.faces.frames import Boxes, Frame, boxes_of
from emotion_pipeline.params import RuntimeParams

OVERLAP = 0.3
"""Of two boxes that overlap by more (intersection over union), the one of lower score is dropped."""


def yunet(frames: Iterable[Frame], files: Sequence[Path], threshold: float, __: RuntimeParams) -> Iterator[Boxes]:
    """Yield the boxes of each frame by cv2.FaceDetectorYN; on the CPU, whatever the device."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns of its own default here
    detector = cv2.FaceDetectorYN.create(str(files[0]), "", (0, 0), threshold, OVERLAP)
    cv2.utils.logging.setLogLevel(level)
    for frame in frames:
        detector.setInputSize(frame.shape[1::-1])
        _, found = detector.detect(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        rows = [] if found is None else found.tolist()
        yield boxes_of((x, y, x + w, y + h, score) for x, y, w, h, *_, score in rows)
