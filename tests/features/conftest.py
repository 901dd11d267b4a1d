"""Face sequences as stage track writes them, with tiny networks beside them."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from emotion_pipeline.data.artifact import Artifact, write_artifact
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.params import FinetuneVggParams, Params


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


def face_of(label: int, rng: np.random.Generator, side: int = 48) -> np.ndarray:
    """A noisy disc whose place tells the class (0-6): in the middle row, brighter or darker, or above, or below."""
    y, x = np.mgrid[:side, :side] / side
    centres = [(0.5, 0.5), (0.2, 0.5), (0.8, 0.5), (0.5, 0.5), (0.2, 0.5), (0.8, 0.5), (2, 2)]
    row, column = centres[label]
    disc = (y - row) ** 2 + (x - column) ** 2 < 0.04
    picture = 128 + (80 if label < 3 else -80) * disc[..., None] + rng.normal(0, 10, (side, side, 3))
    return picture.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def stills_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FER2013's folder layout, 7 pictures of each class in Training, 1 in PublicTest."""
    folder, rng = tmp_path_factory.mktemp("stills"), np.random.default_rng(0)
    for label, name in enumerate(EMOTIONS):
        for i in range(8):
            path = folder / ("PublicTest" if i == 0 else "Training") / name.capitalize() / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), face_of(label, rng))
    return folder


@pytest.fixture
def vgg_params(params: Params, stills_folder: Path) -> FinetuneVggParams:
    changes = {"stills": str(stills_folder), "width": 0.03, "learning_rate": 0.003, "batch_images": 7, "epochs": 9}
    changes |= {"images": "stills", "weights": None, "test_part": None, "pixels": 64}
    return params.finetune_vgg.model_copy(update=changes)
