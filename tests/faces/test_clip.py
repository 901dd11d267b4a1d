"""The three stages on short videos of a photographed face."""

from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from skimage.data import astronaut

from emotion_pipeline.data.artifact import Artifact, read_attributes, write_artifact
from emotion_pipeline.errors import ClipError, UserError
from emotion_pipeline.faces.crops import read_faces
from emotion_pipeline.faces.detect import detect_clip
from emotion_pipeline.faces.landmarks import align_clip
from emotion_pipeline.faces.link import shots
from emotion_pipeline.faces.track import track_clip
from emotion_pipeline.params import Params
from emotion_pipeline.weights.fetch import CENTERFACE, files_of

FACE = astronaut()[0:220, 110:330]
BLACK = np.zeros((220, 400, 3), np.uint8)
WALL = np.tile(np.linspace(60, 200, 400).astype(np.uint8)[None, :, None], (220, 1, 3))


def person(x: float, y: float = 0, degrees: float = 0, picture: np.ndarray = WALL) -> np.ndarray:
    """The photographed face in front of a wall, its picture's corner at x y, turned about its centre."""
    transform = cv2.getRotationMatrix2D((110, 110), degrees, 1)
    transform[:, 2] += x, y
    mask = cv2.warpAffine(np.full((220, 220), 255, np.uint8), transform, (400, 220)) > 127
    return np.where(mask[..., None], cv2.warpAffine(FACE, transform, (400, 220)), picture)


def stages(
    video: Path, params: Params, folder: Path, override: int | None = None, **track: object
) -> tuple[Artifact, Artifact, Artifact]:
    """The three stages' files `detect.h5`, `align.h5`, `track.h5` in `folder`, and what is in them."""
    paths = [folder / f"{name}.h5" for name in ("detect", "align", "track")]
    boxes, landmarks, faces = paths
    write_artifact(boxes, "clip", detect_clip([video, CENTERFACE], params.detect, params.runtime))
    write_artifact(landmarks, "clip", align_clip([video, boxes, *files_of("dlib_68")], params.align, params.runtime))
    settings = params.track.model_copy(update=track)
    write_artifact(faces, "clip", track_clip([video, boxes, landmarks], settings, override))
    return tuple(read_back(path) for path in paths)


def read_back(path: Path) -> Artifact:
    arrays: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, node: arrays.update({name: node[()]} if isinstance(node, h5py.Dataset) else {}))
    attributes = read_attributes(path)
    absent = str(attributes.pop("absent", ""))
    assert attributes.pop("clip_id") == "clip"
    return Artifact(arrays, attributes, absent)


@pytest.fixture
def run(make_video, params, tmp_path):
    def run_on(pictures, **track):
        return stages(make_video(tmp_path / "clip.mp4", np.stack(pictures)), params, tmp_path, **track)

    return run_on


def test_a_turned_and_moving_face_behind_black_frames_becomes_upright_and_still(run, params, tmp_path):
    pictures = [BLACK] * 3 + [person(20 + 4 * k, 3, degrees=12) for k in range(10)]
    detected, aligned, tracked = run(pictures)
    np.testing.assert_array_equal(detected.arrays["frame"], np.arange(3, 13))
    found = {name: detected.attributes[name] for name in ("detector", "frames", "height", "width")}
    assert found == {"detector": "centerface", "frames": 13, "height": 220, "width": 400}
    np.testing.assert_allclose(detected.arrays["time"], np.arange(13) / 25, atol=1e-9)
    assert aligned.arrays["landmarks"].shape == (10, 68, 2)
    np.testing.assert_array_equal(tracked.arrays["frame"], np.arange(3, 13))
    np.testing.assert_allclose(tracked.arrays["time"], np.arange(3, 13) / 25, atol=1e-9)
    assert tracked.absent == aligned.absent == detected.absent == ""

    faces = read_faces(tmp_path / "track.h5")
    assert np.abs(faces[1:].astype(int) - faces[:-1]).mean() < 6  # moved by 4 pixels a frame: about 20
    run([person(60)])
    upright = read_faces(tmp_path / "track.h5")[0]
    assert np.corrcoef(faces[5].ravel(), upright.ravel())[0, 1] > 0.93  # left turned by 12 degrees: 0.7


def test_boxes_and_landmarks_lie_on_the_face(run):
    detected, aligned, _ = run([person(90)] * 2)
    x1, y1, x2, y2, score = detected.arrays["boxes"][0]
    assert 0.5 <= score <= 1
    nose = aligned.arrays["landmarks"][0, 30]
    np.testing.assert_allclose(nose, [90 + 114, 124], atol=6)  # seen in the photograph
    assert x1 < nose[0] < x2
    assert y1 < nose[1] < y2


def test_a_clip_without_a_face_is_absent_all_the_way(run, tmp_path):
    artifacts = run([WALL] * 4)
    for artifact in artifacts:
        assert artifact.absent == "no_face: in none of 4 frames"
        lengths = {n: len(a) for n, a in artifact.arrays.items() if n != "faces_offset"}
        lengths.pop("time", None)
        assert set(lengths.values()) == {0}
    assert artifacts[2].arrays["boxes"].shape == (0, 5)
    assert artifacts[2].arrays["landmarks"].shape == (0, 68, 2)
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
    pictures = [person(60 + 2 * k) if k not in (3, 4) else WALL for k in range(7)]
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


def test_motion_and_flicker_are_no_cuts(params):
    rng, threshold = np.random.default_rng(0), params.track.cut_threshold
    moving = [person(20 + 6 * k) for k in range(6)]
    flicker = [np.clip(person(60) * rng.uniform(0.97, 1.03), 0, 255).astype(np.uint8) for _ in range(6)]
    assert set(shots(moving, threshold)) == set(shots(flicker, threshold)) == {0}
    np.testing.assert_array_equal(shots([*moving, *[BLACK] * 2, moving[0]], threshold), [0] * 6 + [1, 1, 2])


def test_somebody_who_is_there_at_once_is_no_cut_and_another_room_is_one(params):
    there = WALL.copy()
    there[:, 105:195] = FACE[:, 65:155]
    threshold = params.track.cut_threshold
    np.testing.assert_array_equal(shots([WALL, there, there, WALL], threshold), [0, 0, 0, 0])
    np.testing.assert_array_equal(shots([there, 255 - WALL], threshold), [0, 1])


def test_jpeg_faces_are_those_of_the_raw_encoding(run, tmp_path):
    pictures = [person(60 + k) for k in range(3)]
    faces, landmarks = [], []
    for encoding in ("raw", "jpeg"):
        landmarks.append(run(pictures, encoding=encoding)[2].arrays["landmarks"])
        faces.append(read_faces(tmp_path / "track.h5").astype(int))
    assert 0 < np.abs(faces[0] - faces[1]).mean() < 2
    np.testing.assert_array_equal(*landmarks)


def test_the_same_clip_gives_the_same_bytes(make_video, params, tmp_path):
    video = make_video(tmp_path / "clip.mp4", np.stack([person(60 + k) for k in range(3)]))
    for folder in ("one", "two"):
        stages(video, params, tmp_path / folder)
    for name in ("detect", "align", "track"):
        one, two = ((tmp_path / folder / f"{name}.h5").read_bytes() for folder in ("one", "two"))
        assert one == two


def test_a_video_that_became_shorter_since_detection_is_named(make_video, params, tmp_path):
    boxes = Artifact(
        {"boxes": np.ones((1, 5), np.float32), "frame": np.array([9], np.int32)},
        {"box_x": 0.0, "box_y": 0.0, "box_ratio": 1.0},
    )
    write_artifact(tmp_path / "detect.h5", "clip", boxes)
    video = make_video(tmp_path / "clip.mp4", np.stack([WALL] * 4))
    aligned = align_clip([video, tmp_path / "detect.h5", *files_of("dlib_68")], params.align, params.runtime)
    with pytest.raises(ClipError, match=r"truncated: clip\.mp4: ends before frame 9"):
        write_artifact(tmp_path / "align.h5", "clip", aligned)
    assert not (tmp_path / "align.h5").exists()


@pytest.mark.parametrize(("scale", "found"), [(1.0, 0), (2.0, 1)])
def test_a_larger_scale_finds_smaller_faces_and_boxes_stay_in_pixels_of_the_video(
    make_video, params, tmp_path, scale, found
):
    small = WALL.copy()
    small[60:150, 60:150] = cv2.resize(FACE, (90, 90), interpolation=cv2.INTER_AREA)
    video = make_video(tmp_path / "clip.mp4", np.stack([small]))
    hog = params.detect.model_copy(update={"detector": "dlib_hog", "threshold": 0.0, "scale": scale})
    boxes = detect_clip([video], hog, params.runtime).arrays["boxes"]
    assert len(boxes) == found
    for x1, y1, x2, y2, _ in boxes:
        assert 60 < x1 < (x1 + x2) / 2 < x2 < 150
        assert 60 < y1 < (y1 + y2) / 2 < y2 < 160


def test_a_person_may_choose_the_track(run):
    pictures = [person(180, picture=person(-20) if k < 4 else WALL) for k in range(8)]
    _, _, tracked = run(pictures, cut_threshold=1.0)
    other = 1 - int(tracked.attributes["chosen_track"])
    _, _, chosen = run(pictures, cut_threshold=1.0, override=other)
    np.testing.assert_array_equal(chosen.arrays["frame"], np.arange(4))
    assert chosen.attributes["chosen_track"] == other
    assert chosen.attributes["chosen_because"] == "override"
    np.testing.assert_array_equal(chosen.arrays["tracks/track"], tracked.arrays["tracks/track"])


@pytest.mark.parametrize(("picture", "known"), [(person(60), "its tracks are 0 to 0"), (WALL, "it shows no face")])
def test_a_track_that_does_not_exist_is_named(run, picture, known):
    with pytest.raises(UserError, match=rf"data/overrides\.csv: clip detect: track 3, but {known}"):
        run([picture] * 3, override=3)
