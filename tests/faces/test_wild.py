"""Detection to track on real clips of every kind, as the stages run them."""

from pathlib import Path
from shutil import copy

import numpy as np
import pytest

from emotion_pipeline.data.artifact import read_array, read_attributes
from emotion_pipeline.data.manifest import read_failures
from emotion_pipeline.datasets.ingest import ingest
from emotion_pipeline.faces.frames import box_centres, box_sides
from emotion_pipeline.faces.quality import jitter
from emotion_pipeline.params import Params
from emotion_pipeline.run.perclip import run_per_clip
from stages import align, detect, track
from tests.conftest import SHARED

CLIPS = SHARED / "clips"
pytestmark = pytest.mark.shared

BLACK = {"01-02-03_01": 19, "03-02-01_01": 17}
"""Javanese clips, and how many black frames they open with."""

CUTS = [20, 82, 211]
"""First frames of hamilton's second to fourth shot, looked at."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    """data/ of a run on clips/wild and two Javanese clips, no failure allowed."""
    place = tmp_path_factory.mktemp("wild")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("EMOTION_PIPELINE_STORE", str(place / "store"))
        raw = Path("raw")
        raw.mkdir()
        names = [path.name for path in sorted((CLIPS / "wild").iterdir())]
        for path in [*(CLIPS / "wild").iterdir(), *(CLIPS / f"javanese/{name}.mp4" for name in BLACK)]:
            copy(path, raw)
        (raw / "clips.csv").write_text("\n".join(["path", *names, *(f"{name}.mp4" for name in BLACK)]) + "\n")
        Path("data").mkdir()
        Path("data/overrides.csv").write_text("clip_id,track\n")
        folders = [Path("data") / name for name in ("ingest", "detect", "align", "track")]
        layout = params.ingest.model_copy(update={"dataset": "csv", "root": "raw", "min_clips": 10})
        runtime = params.runtime.model_copy(update={"max_failed": 0.0})
        strict = params.model_copy(update={"runtime": runtime})
        ingest(raw, folders[0], layout, runtime)
        run_per_clip(detect.work(folders[0], raw, folders[1], strict))
        run_per_clip(align.work(folders[0], raw, *folders[1:3], strict))
        overrides = Path("data/overrides.csv")
        run_per_clip(track.work(folders[0], raw, *folders[1:3], overrides, folders[3], strict))
    return place / "data"


def chosen(data: Path, clip_id: str) -> np.ndarray:
    return read_array(data / "track" / f"{clip_id}.h5", "frame")


def test_clips_without_a_face_are_absent_and_no_failure(data):
    for stage in ("detect", "align", "track"):
        assert {c: e.args for c, e in read_failures(data / stage).items()} == {
            "five_frames_no_face": ("no_face", "in none of 5 frames"),
            "no_face": ("no_face", "in none of 95 frames"),
        }
        assert len(list((data / stage).glob("*.h5"))) == 10
    assert len(chosen(data, "no_face")) == 0


@pytest.mark.parametrize(
    ("clip_id", "frames"), [("single_face", 72), ("WolfgangLanger_Pexels", 472), ("bird", 63), ("bbaf2n", 75)]
)
def test_a_face_that_is_there_all_the_time_is_one_track_of_all_frames(data, clip_id, frames):
    np.testing.assert_array_equal(chosen(data, clip_id), np.arange(frames))


def test_a_face_that_goes_is_followed_in_its_part_only(data):
    """HEVC at a variable rate: the face is there up to the cut before frame 72."""
    frame = chosen(data, "face_noface")
    np.testing.assert_array_equal(frame, np.arange(72))
    time = read_array(data / "track/face_noface.h5", "time")
    np.testing.assert_allclose([time[0], time[-1]], [0, 71 / 30], atol=0.002)
    steps = np.diff(read_array(data / "detect/face_noface.h5", "time"))
    assert steps.max() > 2 * steps.min()


def test_a_tie_goes_to_the_larger_face_and_a_person_may_overrule_that(data, params, monkeypatch, caplog):
    """bird: a whole face and the larger half of one at the right edge, both there all the time."""
    path = data / "track/bird.h5"
    assert read_attributes(path)["chosen_because"] == "larger_face"
    assert (read_array(path, "boxes")[:, 2] > 600).all()
    monkeypatch.chdir(data.parent)
    monkeypatch.setenv("EMOTION_PIPELINE_STORE", str(data.parent / "store"))
    caplog.set_level("INFO")
    overrides, out = data / "overrides.csv", Path("data/track")
    folders = Path("data/ingest"), Path("raw"), Path("data/detect"), Path("data/align")
    overrides.write_text("clip_id,track\nbird,0\n")
    run_per_clip(track.work(*folders, overrides, out, params))
    assert caplog.messages[-1] == "track: 10 clips: 1 computed, 9 reused, 0 failed"
    assert read_attributes(path)["chosen_because"] == "override"
    assert (read_array(path, "boxes")[:, 2] < 400).all()
    overrides.write_text("clip_id,track\n")
    run_per_clip(track.work(*folders, overrides, out, params))
    assert caplog.messages[-1] == "track: 10 clips: 0 computed, 10 reused, 0 failed"


def test_several_people_are_tracked_apart_and_broken_at_cuts(data):
    """hamilton: four shots, the singer alone in the third; in the fourth, five people sit still, one half hidden."""
    path = data / "track/short_hamilton_clip.h5"
    boxes, frame, track = (read_array(path, f"tracks/{name}") for name in ("boxes", "frame", "track"))
    shots = np.searchsorted(CUTS, frame, side="right")
    for number in np.unique(track):
        rows = track == number
        assert len(set(shots[rows])) == 1
        steps = np.linalg.norm(np.diff(box_centres(boxes[rows]), axis=0), axis=1)
        assert (steps < 0.6 * box_sides(boxes[rows])[1:]).all()
    last = shots == len(CUTS)
    lengths = np.sort(np.bincount(track[last]))[::-1]
    assert (lengths[:4] > 0.9 * (275 - CUTS[-1])).all()
    assert read_attributes(path)["chosen_because"] == "longest"
    np.testing.assert_array_equal(chosen(data, "short_hamilton_clip"), np.arange(CUTS[-2], CUTS[-1]))


def test_a_picture_that_starts_after_the_sound_has_its_true_times(data):
    time = read_array(data / "detect/short_hamilton_clip.h5", "time")
    np.testing.assert_allclose(time, 0.844 + np.arange(275) / 29.97, atol=0.002)


@pytest.mark.parametrize("clip_id", ["single_face", "bbaf2n", "03-02-01_01"])
def test_smoothing_takes_away_more_than_half_of_the_jitter(data, clip_id):
    """Where the head hardly moves; in the other Javanese clip it does."""
    path = data / "track" / f"{clip_id}.h5"
    mine = read_array(path, "tracks/track") == read_attributes(path)["chosen_track"]
    found = read_array(data / "align" / f"{clip_id}.h5", "landmarks")[mine]
    before = jitter(found, read_array(path, "tracks/frame")[mine])
    after = jitter(read_array(path, "landmarks"), chosen(data, clip_id))
    assert 0 < after < before / 2


@pytest.mark.parametrize("clip_id", BLACK)
def test_black_leading_frames_are_left_out(data, clip_id):
    frame = chosen(data, clip_id)
    assert BLACK[clip_id] <= frame[0] <= BLACK[clip_id] + 2
    assert frame[-1] == int(read_attributes(data / f"detect/{clip_id}.h5")["frames"]) - 1
