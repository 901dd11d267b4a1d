import subprocess
import sys
from itertools import pairwise

import cv2
import numpy as np
import pytest

from emotion_pipeline.data.artifact import Artifact, write_artifact
from emotion_pipeline.errors import ClipError
from emotion_pipeline.faces.crops import ENCODINGS, read_faces


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """Soft colour pictures, each another."""
    coarse = np.random.default_rng(0).integers(30, 220, (5, 14, 14, 3)).astype(np.uint8)
    return np.stack([cv2.resize(c, (224, 224), interpolation=cv2.INTER_CUBIC) for c in coarse])


@pytest.fixture
def stored(tmp_path, faces):
    def store(encoding: str, count: int = 5):
        path = tmp_path / f"{encoding}.h5"
        write_artifact(path, "clip", Artifact({}, pieces=ENCODINGS[encoding](iter(faces[:count]))))
        return path

    return store


@pytest.mark.parametrize(("encoding", "error"), [("raw", 0), ("jpeg", 1.5)])
@pytest.mark.parametrize(
    "rows", [slice(None), slice(0, 2), slice(3, None), slice(1, 5, 2), slice(-2, None), slice(2, 2)]
)
def test_faces_come_back_in_order_and_colour(stored, faces, encoding, error, rows):
    back = read_faces(stored(encoding), rows=rows)
    wanted = faces[rows]
    assert back.shape == wanted.shape
    assert back.dtype == np.uint8
    assert all(np.abs(a.astype(int) - b).mean() <= error for a, b in zip(back, wanted, strict=True))


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_no_faces_come_back_as_none(stored, encoding):
    assert read_faces(stored(encoding, 0)).shape == (0, 224, 224, 3)


def jpeg_arrays(faces: np.ndarray) -> dict[str, np.ndarray]:
    pieces = list(ENCODINGS["jpeg"](faces))
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def test_jpeg_is_small_and_keeps_colour_at_full_resolution(faces):
    arrays = jpeg_arrays(faces)
    assert len(arrays["faces_jpeg"]) < faces.nbytes / 7
    stream = bytes(arrays["faces_jpeg"][: arrays["faces_offset"][1]])
    frame_header = stream.index(b"\xff\xc0") + 4
    samplings = [stream[frame_header + 7 + 3 * k] for k in range(3)]
    assert samplings == [0x11] * 3  # 4:4:4
    assert all(b > a for a, b in pairwise(arrays["faces_offset"]))


def test_same_faces_give_the_same_bytes(faces):
    first, second = (jpeg_arrays(faces)["faces_jpeg"].tobytes() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_a_face_is_given_away_before_the_next_is_asked_for(faces, encoding):
    """So that a long clip needs the memory of one face."""
    asked = []
    pieces = ENCODINGS[encoding](asked.append(i) or face for i, face in enumerate(faces))
    assert [len(asked) for _ in pieces] == [0, 1, 2, 3, 4, 5]


def test_a_damaged_picture_is_named(tmp_path, faces):
    arrays = jpeg_arrays(faces)
    arrays["faces_jpeg"][:] = 0
    path = tmp_path / "happy_012.h5"
    write_artifact(path, "happy_012", Artifact(arrays))
    with pytest.raises(ClipError, match=r"unreadable: .*happy_012\.h5: cannot read its faces \(not a JPEG"):
        read_faces(path)


def test_a_file_without_faces_is_named(tmp_path):
    write_artifact(tmp_path / "sad_1.h5", "sad_1", Artifact({"boxes": np.zeros((0, 5))}))
    with pytest.raises(ClipError, match=r"sad_1\.h5: cannot read its faces"):
        read_faces(tmp_path / "sad_1.h5")


def test_reading_faces_needs_no_detector():
    code = "import sys, emotion_pipeline.faces.crops; sys.exit('dlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
