"""Face sequences as stage track writes them, with tiny networks beside them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emotion_pipeline.store import Artifact, write_artifact


def write_track(path: Path, faces: np.ndarray, absent: str = "") -> Path:
    """A file of stage track with these faces (t, 224, 224, 3), seen from frame 3 on."""
    frame = np.arange(3, 3 + len(faces), dtype=np.int32)
    write_artifact(path, path.stem, Artifact({"faces": faces, "frame": frame}, absent=absent))
    return path


@pytest.fixture
def make_track() -> Callable[..., Path]:
    return write_track


@pytest.fixture
def noise() -> Callable[[int], np.ndarray]:
    """Random faces: (t, 224, 224, 3), different in every frame and channel."""

    def faces(count: int) -> np.ndarray:
        coarse = np.random.default_rng(count).integers(0, 256, (count, 14, 14, 3), dtype=np.uint8)
        return coarse.repeat(16, axis=1).repeat(16, axis=2)

    return faces
