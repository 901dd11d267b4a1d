"""The three stages on short videos of a photographed face."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from emotion_pipeline.clips import ClipError
from emotion_pipeline.faces.crops import read_faces
from emotion_pipeline.faces.cuts import shots
from emotion_pipeline.faces.detect import detect_clip
from emotion_pipeline.faces.landmarks import align_clip
from emotion_pipeline.faces.track import track_clip
from emotion_pipeline.params import Params
from emotion_pipeline.store import Artifact, read_array, write_artifact

FACE = astronaut()[0:220, 110:330]
BLACK = np.zeros((220, 400, 3), np.uint8)
WALL = np.tile(np.linspace(60, 200, 400).astype(np.uint8)[None, :, None], (220, 1, 3))


def person(x: float, y: float = 0, degrees: float = 0, picture: np.ndarray = WALL) -> np.ndarray:
    """The photographed face in front of a wall, its picture's corner at x y, turned about its centre."""
    transform = cv2.getRotationMatrix2D((110, 110), degrees, 1)
    transform[:, 2] += x, y
    mask = cv2.warpAffine(np.full((220, 220), 255, np.uint8), transform, (400, 220)) > 127
    return np.where(mask[..., None], cv2.warpAffine(FACE, transform, (400, 220)), picture)


def stages(video: Path, params: Params, folder: Path, **track: object) -> tuple[Artifact, Artifact, Artifact]:
    detections, alignment = folder / "detect.h5", folder / "align.h5"
    detected = detect_clip([video], params.detect)
    write_artifact(detections, "clip", detected)
    aligned = align_clip([video, detections], params.align)
    write_artifact(alignment, "clip", aligned)
    settings = params.track.model_copy(update=track)
    return detected, aligned, track_clip([video, detections, alignment], settings)


@pytest.fixture
def run(make_video, params, tmp_path):
    def run_on(pictures, **track):
        return stages(make_video(tmp_path / "clip.mp4", np.stack(pictures)), params, tmp_path, **track)

    return run_on


def test_a_turned_and_moving_face_behind_black_frames_becomes_upright_and_still(run, params, tmp_path):
    pictures = [BLACK] * 3 + [person(20 + 4 * k, 3, degrees=12) for k in range(10)]
    detected, aligned, tracked = run(pictures)
    np.testing.assert_array_equal(detected.arrays["frame"], np.arange(3, 13))
    assert detected.attributes == {"detector": "dlib_hog", "frames": 13, "height": 220, "width": 400}
    assert aligned.arrays["landmarks"].shape == (10, 68, 2)
    np.testing.assert_array_equal(tracked.arrays["frame"], np.arange(3, 13))
    assert tracked.absent == aligned.absent == detected.absent == ""

    write_artifact(tmp_path / "track.h5", "clip", tracked)
    faces = read_faces(tmp_path / "track.h5")
    assert np.abs(faces[1:].astype(int) - faces[:-1]).mean() < 6  # moved by 4 pixels a frame: about 20
    write_artifact(tmp_path / "upright.h5", "clip", run([person(60)])[2])
    upright = read_faces(tmp_path / "upright.h5")[0]
    assert np.corrcoef(faces[5].ravel(), upright.ravel())[0, 1] > 0.93  # left turned by 12 degrees: 0.7


def test_boxes_and_landmarks_lie_on_the_face(run):
    detected, aligned, _ = run([person(90)] * 2)
    x1, y1, x2, y2, score = detected.arrays["boxes"][0]
    assert score > 1
    nose = aligned.arrays["landmarks"][0, 30]
    np.testing.assert_allclose(nose, [90 + 114, 124], atol=6)  # seen in the photograph
    assert x1 < nose[0] < x2
    assert y1 < nose[1] < y2


def test_a_clip_without_a_face_is_absent_all_the_way(run, tmp_path):
    artifacts = run([WALL] * 4)
    for artifact in artifacts:
        assert artifact.absent == "no_face: in none of 4 frames"
        lengths = {name: len(array) for name, array in artifact.arrays.items() if name != "faces_offset"}
        assert set(lengths.values()) == {0}
    assert artifacts[2].arrays["boxes"].shape == (0, 5)
    assert artifacts[2].arrays["landmarks"].shape == (0, 68, 2)
    write_artifact(tmp_path / "track.h5", "clip", artifacts[2])
    assert read_faces(tmp_path / "track.h5").shape == (0, 224, 224, 3)


def test_two_people_are_two_tracks_and_the_longer_one_is_chosen(run):
    pictures = [person(180, picture=person(-20) if k < 4 else WALL) for k in range(8)]
    _, _, tracked = run(pictures, cut_threshold=1.0)
    assert tracked.attributes["tracks"] == 2
    assert tracked.attributes["chosen_because"] == "longest"
    np.testing.assert_array_equal(tracked.arrays["frame"], np.arange(8))
    assert (tracked.arrays["boxes"][:, 0] > 180).all()
    assert len(tracked.arrays["tracks/track"]) == len(tracked.arrays["tracks/boxes"]) == 12
    assert np.bincount(tracked.arrays["tracks/track"]).tolist() in ([8, 4], [4, 8])


@pytest.mark.parametrize(("gaps", "frame"), [("interpolate", [0, 1, 2, 3, 4, 5, 6]), ("leave", [0, 1, 2, 5, 6])])
def test_gap_frames_are_filled_in_or_left_out(run, gaps, frame):
    hidden = person(60).copy()
    hidden[90:150, 60:280] = 90
    pictures = [person(60 + 2 * k) if k not in (3, 4) else hidden for k in range(7)]
    _, _, tracked = run(pictures, gaps=gaps, encoding="raw", cut_threshold=1.0)
    np.testing.assert_array_equal(tracked.arrays["frame"], frame)
    assert len(tracked.arrays["faces"]) == len(tracked.arrays["landmarks"]) == len(frame)
    scores = tracked.arrays["boxes"][:, 4]
    np.testing.assert_array_equal(np.isnan(scores), [k in (3, 4) for k in frame])


def test_a_cut_is_found_and_ends_the_track(run):
    inverted = 255 - WALL
    pictures = [person(60)] * 4 + [person(60, picture=inverted)] * 6
    _, _, tracked = run(pictures)
    np.testing.assert_array_equal(tracked.arrays["frame"], np.arange(4, 10))
    assert tracked.attributes["tracks"] == 2


def test_motion_and_flicker_are_no_cuts():
    rng = np.random.default_rng(0)
    moving = [person(20 + 6 * k) for k in range(6)]
    flicker = [np.clip(person(60) * rng.uniform(0.97, 1.03), 0, 255).astype(np.uint8) for _ in range(6)]
    assert set(shots(moving, 0.05)) == set(shots(flicker, 0.05)) == {0}
    np.testing.assert_array_equal(shots([*moving, *[BLACK] * 2, moving[0]], 0.05), [0] * 6 + [1, 1, 2])


def test_jpeg_faces_are_those_of_the_raw_encoding(run, tmp_path):
    pictures = [person(60 + k) for k in range(3)]
    for encoding in ("raw", "jpeg"):
        write_artifact(tmp_path / f"{encoding}.h5", "clip", run(pictures, encoding=encoding)[2])
    raw, jpeg = (read_faces(tmp_path / f"{encoding}.h5").astype(int) for encoding in ("raw", "jpeg"))
    assert 0 < np.abs(raw - jpeg).mean() < 2
    np.testing.assert_array_equal(
        read_array(tmp_path / "raw.h5", "landmarks"), read_array(tmp_path / "jpeg.h5", "landmarks")
    )


def test_the_same_clip_gives_the_same_bytes(make_video, params, tmp_path):
    video = make_video(tmp_path / "clip.mp4", np.stack([person(60 + k) for k in range(3)]))
    for folder in ("one", "two"):
        write_artifact(tmp_path / folder / "track.h5", "clip", stages(video, params, tmp_path / folder)[2])
    assert (tmp_path / "one/track.h5").read_bytes() == (tmp_path / "two/track.h5").read_bytes()


def test_a_video_that_became_shorter_since_detection_is_named(make_video, params, tmp_path):
    write_artifact(
        tmp_path / "detect.h5",
        "clip",
        Artifact({"boxes": np.ones((1, 5), np.float32), "frame": np.array([9], np.int32)}),
    )
    video = make_video(tmp_path / "clip.mp4", np.stack([WALL] * 4))
    with pytest.raises(ClipError, match=r"truncated: clip\.mp4: ends before frame 9"):
        align_clip([video, tmp_path / "detect.h5"], params.align)


def test_upsampling_finds_smaller_faces(make_video, params, tmp_path):
    small = WALL.copy()
    small[60:150, 60:150] = cv2.resize(FACE, (90, 90), interpolation=cv2.INTER_AREA)
    video = make_video(tmp_path / "clip.mp4", np.stack([small]))
    found = [
        len(detect_clip([video], params.detect.model_copy(update={"upsample": n})).arrays["frame"]) for n in (0, 1)
    ]
    assert found == [0, 1]
