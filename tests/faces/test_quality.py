"""Measures by hand, and contact sheets and overlay videos of two painted people."""

import cv2
import numpy as np
import pytest

from emotion_pipeline.data.artifact import Artifact, write_artifact
from emotion_pipeline.data.media import frames, probe, timed_frames, timed_sound
from emotion_pipeline.faces.crops import encode_raw, evenly_spaced
from emotion_pipeline.faces.overlay import COLOURS, FOOT, colour_of, draw_box, write_overlay
from emotion_pipeline.faces.quality import CAPTION, CELL, contact_sheet, jitter, measures, quality_clip
from tests.conftest import write_late

SMALL = np.array([10.0, 20, 40, 60, 0.9])
LARGE = np.array([100.0, 30, 180, 130, 0.8])


def still(frames_: int, eyes: float = 20.0) -> np.ndarray:
    """Landmarks of a face that does not move."""
    points = np.random.default_rng(0).uniform(0, 50, (68, 2))
    points[36], points[45] = (0, 0), (eyes, 0)
    return np.repeat(points[None], frames_, axis=0).astype(np.float32)


def test_jitter_of_a_known_zigzag():
    """Up and down by 1 pixel: the second difference is 4; over eyes of 20 pixels, 0.2."""
    landmarks = still(6)
    landmarks[::2, :, 1] += 1
    landmarks[1::2, :, 1] -= 1
    assert jitter(landmarks, np.arange(6)) == pytest.approx(0.2, rel=1e-5)


def test_uniform_motion_is_no_jitter_and_only_frames_in_a_row_count():
    frame = np.array([0, 1, 2, 7, 8, 9])
    landmarks = still(6) + 3.0 * frame[:, None, None].astype(np.float32)
    assert jitter(landmarks, frame) == pytest.approx(0, abs=1e-5)
    assert jitter(landmarks[:2], frame[:2]) is None
    assert jitter(landmarks, np.arange(6)) > 0.1


def test_measures_by_hand():
    """Ten frames; person 0 in frames 1, 2, 5, person 1 in frame 2; the gap is filled in."""
    boxes = np.array([SMALL, SMALL, LARGE, SMALL], np.float32)
    frame, chosen = np.array([1, 2, 2, 5]), np.array([True, True, False, True])
    found = measures(10, boxes, frame, chosen, still(4), still(5, 30.0), np.arange(1, 6))
    assert found.pop("face_side") == pytest.approx(np.sqrt(30 * 40))
    assert found.pop("jitter_after") == pytest.approx(0, abs=1e-6)
    assert found == {
        "frames": 10,
        "share_with_face": 0.3,
        "share_in_sequence": 0.5,
        "faces": 4,
        "faces_at_once": 2,
        "longest_gap": 2,
        "eye_distance": 30.0,
    }


def test_measures_are_of_the_chosen_track_and_medians():
    """Somebody larger, who trembles, is there all the time, also in the gap of the chosen one."""
    frame = np.array([0, 0, 1, 1, 2, 2, 3, 4, 5, 5])
    chosen = np.array([True, False] * 3 + [False] * 2 + [True, False])
    boxes = np.where(chosen[:, None], SMALL, LARGE).astype(np.float32)
    before = still(10)
    before[~chosen] += np.tile([0, 9], 3)[:, None, None]
    after = still(4)
    after[-1, 45] = (90, 0)
    found = measures(6, boxes, frame, chosen, before, after, np.array([0, 1, 2, 5]))
    assert found["longest_gap"] == 2
    assert found["face_side"] == pytest.approx(np.sqrt(30 * 40))
    assert found["jitter_before"] == pytest.approx(0, abs=1e-6)
    assert found["eye_distance"] == pytest.approx(20)


def test_measures_without_a_face_are_left_out():
    none = np.zeros((0, 68, 2), np.float32)
    empty = np.zeros(0, np.int32)
    found = measures(7, np.zeros((0, 5), np.float32), empty, empty.astype(bool), none, none, empty)
    assert found == {"frames": 7, "share_with_face": 0.0, "share_in_sequence": 0.0, "faces": 0, "faces_at_once": 0}


@pytest.mark.parametrize(("length", "wanted", "rows"), [(9, 3, [0, 4, 8]), (2, 3, [0, 1]), (1, 3, [0]), (5, 1, [0])])
def test_evenly_spaced_from_first_to_last(length, wanted, rows):
    assert evenly_spaced(length, wanted) == rows


TICKS = [850, 890, 930, 1100, 1110, 1300]


@pytest.fixture
def files(tmp_path):
    """Six pictures of 64 x 48 at TICKS with sound from 0; person 0 in frames 1 to 4 and chosen, person 1 in frame 4."""
    video = write_late(tmp_path / "clip.mkv", TICKS, 0.0)
    boxes = np.array([[10, 15, 30, 40, 1]] * 4 + [[40, 20, 60, 44, 1]], np.float32)
    frame, track = np.array([1, 2, 3, 4, 4], np.int32), np.array([0, 0, 0, 0, 1], np.int32)
    faces = [np.full((224, 224, 3), 40 * k, np.uint8) for k in range(1, 5)]
    landmarks = still(5, 10.0) / 5 + [15, 20]
    paths = [tmp_path / f"{name}.h5" for name in ("detect", "align", "track")]
    detected = {"boxes": boxes, "frame": frame, "time": np.array(TICKS) / 1000}
    write_artifact(paths[0], "c", Artifact(detected, {"frames": 6}))
    write_artifact(paths[1], "c", Artifact({"landmarks": landmarks.astype(np.float32), "frame": frame}))
    tracks = {"tracks/boxes": boxes, "tracks/frame": frame, "tracks/track": track}
    sequence = {"frame": frame[:4], "landmarks": landmarks[:4].astype(np.float32)}
    attributes = {"tracks": 2, "chosen_track": 0, "chosen_because": "longest"}
    write_artifact(paths[2], "c", Artifact(sequence | tracks, attributes, pieces=encode_raw(faces)))
    return [video, *paths]


def has_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(picture.astype(int) - colour).max(axis=-1) < 60).any())


def test_the_sheet_shows_all_tracks_and_the_aligned_faces(files):
    sheet = contact_sheet(files[0], files[1], files[3], 6)
    pictures = np.split(sheet[: CELL * 48 // 64], 6, axis=1)
    assert sheet.shape == (CELL * 48 // 64 + CELL + CAPTION, 6 * CELL, 3)
    assert [has_colour(p, colour_of(0)) for p in pictures] == [False, True, True, True, True, False]
    assert [has_colour(p[20:], colour_of(1)) for p in pictures] == [False] * 4 + [True, False]
    faces = [face[CELL // 2, CELL // 2].tolist() for face in np.split(sheet[CELL * 48 // 64 :], 6, axis=1)]
    assert faces == [[150] * 3, [40] * 3, [80] * 3, [120] * 3, [160] * 3, [150] * 3]


def test_boxes_and_landmarks_lie_on_the_thumbnail_and_the_chosen_box_is_thicker(files):
    """The thumbnail is 2.5 times the picture; the line at the left of a box, halfway down it."""
    column = contact_sheet(files[0], files[1], files[3], 6)[:, 4 * CELL : 5 * CELL].astype(int)
    marked = np.abs(column - 99).max(axis=-1) > 30
    chosen, other = marked[75, 21:30], marked[80, 96:105]
    assert chosen.sum() > other.sum() > 0
    assert marked[75, 25]
    assert marked[80, 100]
    x, y = np.rint(2.5 * (still(1, 10.0)[0, 36] / 5 + [15, 20])).astype(int)
    assert column[y, x].min() > 180  # a landmark


def test_every_caption_has_the_time_of_its_frame(files):
    sheet = contact_sheet(files[0], files[1], files[3], 6)
    later = np.array(TICKS) / 1000 + np.array([0, 0, 0, 7, 0, 0])
    write_artifact(files[1], "c", Artifact({"time": later}, {"frames": 6}))
    changed = (contact_sheet(files[0], files[1], files[3], 6) != sheet).any(axis=(0, 2)).reshape(6, CELL).any(axis=1)
    assert changed.tolist() == [False, False, False, True, False, False]


def test_a_box_bears_the_number_of_its_track():
    pictures = [np.full((120, 160, 3), 99, np.uint8) for _ in range(2)]
    for picture, track in zip(pictures, (1, 1 + len(COLOURS)), strict=True):  # of one colour
        draw_box(picture, np.array([40.0, 50, 80, 100]), track)
    different = (pictures[0] != pictures[1]).any(axis=-1)
    assert different[30:50, 36:70].sum() > 20
    assert not different[50:].any()


@pytest.mark.parametrize(
    "box",
    [(5, 5, 630, 356), (200, -10, 450, 365), (-60, 100, 60, 220), (620, 100, 700, 220), (634, 2, 700, 359)],
    ids=["close-up", "top to bottom", "over the left edge", "over the right edge", "a corner"],
)
def test_the_number_is_in_the_picture_also_where_the_box_leaves_it(box):
    pictures = [np.full((360, 640, 3), 99, np.uint8) for _ in range(2)]
    for picture, track in zip(pictures, (1, 1 + len(COLOURS)), strict=True):
        draw_box(picture, np.array(box, float), track)
    assert (pictures[0] != pictures[1]).any(axis=-1).sum() > 60


def test_the_sheet_of_a_clip_without_a_face_keeps_the_colours_and_says_that_it_is_absent(make_video, params, tmp_path):
    video = make_video(tmp_path / "red.mp4", np.full((4, 48, 64, 3), (200, 30, 30), np.uint8))
    paths = [tmp_path / f"{name}.h5" for name in ("detect", "align", "track")]
    none, points = np.zeros(0, np.int32), np.zeros((0, 68, 2), np.float32)
    boxes = np.zeros((0, 5), np.float32)
    write_artifact(paths[0], "c", Artifact({"boxes": boxes, "frame": none, "time": np.arange(4) / 25}, {"frames": 4}))
    write_artifact(paths[1], "c", Artifact({"landmarks": points, "frame": none}))
    tracks = {"tracks/boxes": boxes, "tracks/frame": none, "tracks/track": none, "frame": none, "landmarks": points}
    write_artifact(paths[2], "c", Artifact(tracks, {"tracks": 0}, "no_face: in none of 4 frames", encode_raw([])))
    made = quality_clip([video, *paths], params.quality)
    assert made.absent == "no_face: in none of 4 frames"
    assert {"chosen_track", "face_side", "longest_gap", "jitter_after"} & set(made.attributes) == set()
    sheet = cv2.imdecode(made.arrays["contact_sheet"], cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_allclose(sheet[60, 80].astype(int), (200, 30, 30), atol=25)


def test_the_file_of_a_clip_has_measures_and_sheet(files, params):
    made = quality_clip(files, params.quality)
    assert {name: made.attributes[name] for name in ("tracks", "chosen_track", "chosen_because", "longest_gap")} == {
        "tracks": 2,
        "chosen_track": 0,
        "chosen_because": "longest",
        "longest_gap": 0,
    }
    assert cv2.imdecode(made.arrays["contact_sheet"], cv2.IMREAD_COLOR).shape[1] == 6 * CELL


def test_the_overlay_keeps_every_picture_its_time_and_the_sound(files, tmp_path):
    video, _, alignment, tracking = files
    out = tmp_path / "out/overlay.mp4"
    write_overlay(video, alignment, tracking, out)
    times = [time for time, _ in timed_frames(out)]
    np.testing.assert_allclose(times, np.array(TICKS) / 1000, atol=0.001)
    media = probe(out)
    assert (media.width, media.height, media.has_audio) == (64 + 224, 224 + FOOT, True)
    lasting = [sum(piece.samples / piece.sample_rate for _, piece in timed_sound(file)) for file in (video, out)]
    assert lasting[1] == pytest.approx(lasting[0], abs=0.1)
    pictures = list(frames(out))
    assert [has_colour(p[:48, :64], colour_of(0)) for p in pictures] == [False, True, True, True, True, False]
    assert [round(p[100, 64 + 100].mean(), -1) for p in pictures] == [60, 40, 80, 120, 160, 60]


def test_the_overlay_of_a_clip_without_sound_or_face(make_video, tmp_path, grey_steps):
    video = make_video(tmp_path / "clip.mp4", grey_steps)
    none = {"tracks/boxes": np.zeros((0, 5), np.float32), "tracks/frame": np.zeros(0, np.int32)}
    none |= {"tracks/track": np.zeros(0, np.int32), "frame": np.zeros(0, np.int32)}
    landmarks = {"landmarks": np.zeros((0, 68, 2), np.float32)}
    write_artifact(tmp_path / "align.h5", "c", Artifact(landmarks))
    write_artifact(tmp_path / "track.h5", "c", Artifact(landmarks | none, {"tracks": 0}, pieces=encode_raw([])))
    write_overlay(video, tmp_path / "align.h5", tmp_path / "track.h5", tmp_path / "out.mp4")
    assert (probe(tmp_path / "out.mp4").frames, probe(tmp_path / "out.mp4").has_audio) == (12, False)
