import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from emotion_pipeline.data import media
from emotion_pipeline.data.artifact import read_array, read_attributes
from emotion_pipeline.data.manifest import SPLITS
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import ClipError, UserError
from emotion_pipeline.faces.dlib_models import dlib_68, hog_boxes
from emotion_pipeline.params import RuntimeParams, SampleParams, SubjectCounts, load_params
from emotion_pipeline.sample import generate as sample
from emotion_pipeline.sample.expression import CONTROLS, MIRROR
from emotion_pipeline.sample.film import BLACK_FRAMES, SHORT_FRAMES, Plan, film, person_of, weakness
from emotion_pipeline.sample.voice import PROSODY, RATE, prosody, speak
from emotion_pipeline.weights import fetch
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow


def params(difficulty: float = 0.5, takes: int = 1) -> SampleParams:
    counts = SubjectCounts(train=1, val=1, test=1)
    return SampleParams(
        seed=7, subjects=counts, emotions_per_subject=7, takes=takes, difficulty=difficulty, stills_per_emotion=2
    )


def runtime(workers: int) -> RuntimeParams:
    return load_params(REPOSITORY / "params.yaml").runtime.model_copy(update={"workers": workers})


def plan(kind: str = "", shown: str = "happy", subject: str = "train_01") -> Plan:
    return Plan(f"{subject}_{shown}_{kind}", "train", shown, subject, kind, shown)


def files_of(folder: Path) -> dict[str, str]:
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory) -> tuple[Path, Path]:
    """The same small set, made by one process and by two."""
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    one_each = params().model_copy(update={"emotions_per_subject": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "EMOTIONS", ("happy",))
        patch.setattr(sample, "ODD_CLIPS", (("short", "train", "angry"), ("no_sound", "", "")))
        for folder, workers in zip(folders, (1, 2), strict=True):
            sample.make_clips(folder, one_each, runtime(workers))
            sample.make_stills(folder / "stills", one_each, runtime(workers))
    return folders


def test_the_classes_take_turns_over_the_subjects():
    few = params().model_copy(update={"emotions_per_subject": 2, "subjects": SubjectCounts(train=7, val=1, test=1)})
    train = [p for p in sample._plans(few) if p.split == "train" and not p.kind]
    assert [p.label for p in train[:3]] == ["angry", "disgust", "fear"]
    assert [p.subject for p in train[:3]] == ["train_01", "train_01", "train_02"]
    assert sorted(p.label for p in train) == sorted([*EMOTIONS, *EMOTIONS])


def test_the_same_parameters_give_the_same_bytes_for_any_number_of_workers(two_runs):
    one, two = map(files_of, two_runs)
    assert one == two
    assert {Path(name).suffix for name in one} >= {".h5", ".csv", ".jpg"}


def test_a_clip_that_cannot_be_made_stops_the_stage_and_no_table_names_it(tmp_path, monkeypatch):
    failures = {"train_01_happy_1": ClipError("crash", "train_01_happy_1: its worker process died")}
    monkeypatch.setattr(sample, "run_each", lambda *_: ({}, failures))
    with pytest.raises(UserError, match="sample: train_01_happy_1: its worker process died; run again"):
        sample.make_clips(tmp_path, params(), runtime(1))
    assert not (tmp_path / "clips.csv").exists()


def test_every_clip_is_a_video_with_its_truth(two_runs):
    folder = two_runs[0]
    rows = [line.split(",") for line in (folder / "clips.csv").read_text().splitlines()]
    assert rows[0] == ["clip_id", "path", "split", "label", "subject"]
    assert rows[1:] == sorted(rows[1:])
    assert [row[0] for row in rows[1:]] == [p.stem for p in sorted((folder / "truth").iterdir())]
    for clip_id, path, *_ in rows[1:]:
        frames = len(list(media.frames(folder / path)))
        truth = folder / "truth" / f"{clip_id}.h5"
        assert len(read_array(truth, "intensity")) == frames
        assert read_array(truth, "landmarks").shape == (frames, 68, 2)
        assert 0 <= int(read_attributes(truth)["apex_frame"]) < frames
        if "no_sound" in clip_id:
            with pytest.raises(ClipError, match="no_sound"):
                media.sound(folder / path, RATE)
        else:
            assert len(media.sound(folder / path, RATE)) / RATE == pytest.approx(frames / 25, abs=0.1)


def test_stills_lie_as_in_fer2013(two_runs):
    folder = two_runs[0] / "stills"
    counts = {(p.parent.name, p.name): len(list(p.glob("*.jpg"))) for p in folder.glob("*/*")}
    expected = {"Training": 2, "PublicTest": 1, "PrivateTest": 1}
    assert counts == {(usage, "happy"): n for usage, n in expected.items()}  # the fixture's one emotion
    picture = cv2.imread(str(folder / "Training" / "happy" / "00000.jpg"), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (48, 48)


def test_no_person_is_in_two_splits_and_every_split_has_every_emotion():
    plans = list(sample._plans(params(takes=2)))
    assert len({p.clip_id for p in plans}) == len(plans)
    splits = {p.subject: {q.split for q in plans if q.subject == p.subject} for p in plans}
    assert all(len(s) == 1 for s in splits.values())
    for split in SPLITS:
        assert {p.label for p in plans if p.split == split} >= set(EMOTIONS)
    assert {(p.split, p.label) for p in plans if not p.label} == {("test", ""), ("", "")}


def test_a_clip_does_not_change_when_the_data_set_grows():
    more = SampleParams.model_validate({**params(takes=3).model_dump(), "subjects": {"train": 4, "val": 2, "test": 2}})
    small, large = film(plan("short"), params()), film(plan("short"), more)
    np.testing.assert_array_equal(np.stack(small.pictures), np.stack(large.pictures))
    np.testing.assert_array_equal(small.sound, large.sound)


def test_two_subjects_and_two_clips_are_not_alike():
    first, second = film(plan("short"), params()), film(plan("short", subject="test_01"), params())
    assert not np.array_equal(first.pictures[0].mean(), second.pictures[0].mean())
    assert not np.array_equal(first.sound, second.sound)


@pytest.mark.parametrize(
    ("kind", "first"), [("no_face", None), ("short", 0), ("black_start", BLACK_FRAMES), ("cut", 0)]
)
def test_odd_clips_are_odd_in_their_way(kind, first):
    made = film(plan(kind), params())
    frames, truth = len(made.pictures), made.truth.arrays
    assert truth["frame"].tolist() == ([] if first is None else list(range(first, frames)))
    assert len(truth["landmarks"]) == len(truth["boxes"]) == len(truth["frame"])
    assert not any(name.startswith("second/") for name in truth)
    assert (frames == SHORT_FRAMES) == (kind == "short")
    assert (made.truth.attributes["apex_frame"] == -1) == (kind == "no_face")
    assert truth["intensity"].any() == (kind != "no_face")
    black = [not picture.any() for picture in made.pictures]
    assert black == [kind == "black_start" and i < BLACK_FRAMES for i in range(frames)]
    jumps = [
        float(np.abs(np.subtract(a, b, dtype=float)).mean())
        for a, b in zip(made.pictures, made.pictures[1:], strict=False)
    ]
    if kind == "cut":
        assert int(np.argmax(jumps)) + 1 == made.truth.attributes["cut_frame"]
        assert max(jumps) > 3 * float(np.median(jumps))


def test_of_two_faces_the_labelled_one_is_larger_and_longer_there():
    truth = film(plan("two_faces"), params()).truth.arrays
    assert len(truth["frame"]) > len(truth["second/frame"]) > 0
    labelled, other = truth["boxes"], truth["second/boxes"]
    assert (labelled[:, 2] - labelled[:, 0]).mean() > (other[:, 2] - other[:, 0]).mean()
    assert labelled[:, 2].max() < other[:, 0].min()


@pytest.mark.parametrize("subject", ["train_01", "train_02", "test_01"])
def test_detector_and_landmarks_agree_with_the_truth(subject):
    made = film(plan(shown="happy", subject=subject), params())
    overlaps, errors = [], []
    for number in range(0, len(made.pictures), 6):
        picture, points = made.pictures[number], made.truth.arrays["landmarks"][number]
        found = hog_boxes(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))[:1]
        box = made.truth.arrays["boxes"][number]
        if len(found) == 0:
            overlaps.append(0.0)
            continue
        overlaps.append(overlap(box, found[0]))
        (landmarks,) = next(dlib_68([(picture, found)], *fetch.files_of("dlib_68")))
        eyes = np.linalg.norm(points[36:42].mean(axis=0) - points[42:48].mean(axis=0))
        errors.append(np.linalg.norm(landmarks - points, axis=1).mean() / eyes)
    assert np.mean(np.array(overlaps) > 0.5) >= 0.8
    assert np.mean(errors) < 0.09  # of the distance between the eyes; a mirrored order gives more than 0.5


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.minimum(a[2:4], b[2:4]) - np.maximum(a[:2], b[:2])
    both = float(np.prod(np.maximum(sides, 0)))
    return both / float(np.prod(a[2:4] - a[:2]) + np.prod(b[2:4] - b[:2]) - both)


def test_some_people_are_mirrored_and_their_landmarks_stay_left_to_right():
    people = {name: person_of(name, params()).mirrored for name in ("train_01", "train_02", "train_03", "test_01")}
    assert set(people.values()) == {True, False}
    for name in people:
        points = film(plan("short", subject=name), params()).truth.arrays["landmarks"][0]
        for left, right in ((0, 16), (17, 26), (36, 45), (48, 54), (60, 64), (31, 35)):
            assert points[left, 0] < points[right, 0]
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(68))
    assert len(CONTROLS) == 68 + 10


def test_expressions_move_the_face_as_they_should():
    def at_apex(emotion):
        made = film(plan(shown=emotion), params(difficulty=0.0))
        points = made.truth.arrays["landmarks"][made.truth.attributes["apex_frame"]]
        across = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
        turn = np.array([[across[0], across[1]], [-across[1], across[0]]]) / (across @ across)
        return (points - points[27]) @ turn.T

    face = {emotion: at_apex(emotion) for emotion in ("happy", "sad", "angry", "surprise", "neutral")}
    width = {e: p[54, 0] - p[48, 0] for e, p in face.items()}
    opening = {e: p[66, 1] - p[62, 1] for e, p in face.items()}
    brow = {e: p[[21, 22], 1].mean() for e, p in face.items()}
    corner = {e: p[[48, 54], 1].mean() - p[62, 1] for e, p in face.items()}
    assert max(width, key=width.get) == "happy"
    assert max(opening, key=opening.get) == "surprise"
    assert max(brow, key=brow.get) == "angry"
    assert min(brow, key=brow.get) in ("surprise", "sad")
    assert max(corner, key=corner.get) == "sad"


@pytest.mark.parametrize(("difficulty", "share"), [(0.0, 0.0), (0.5, 0.2), (1.0, 0.4)])
def test_with_difficulty_more_faces_or_voices_say_nothing_but_never_both(difficulty, share):
    rng = np.random.default_rng(1)
    weak = np.array([weakness(difficulty, rng) for _ in range(2000)])
    np.testing.assert_allclose(weak.mean(axis=0), share, atol=0.03)
    assert not weak.all(axis=1).any()


def test_voice_has_the_pitch_and_loudness_of_its_emotion():
    def voice(emotion):
        rng = np.random.default_rng(3)
        way = prosody(emotion, 1.0, 0.0, rng)
        sound, mouth = speak(2 * RATE, way, 120.0, 1.0, rng)
        assert np.abs(sound).max() < 1
        assert mouth.min() >= 0
        assert mouth.max() <= 1
        return pitch_of(sound), float(np.sqrt(np.mean(sound**2)))

    spoken = {emotion: voice(emotion) for emotion in PROSODY}
    assert spoken["neutral"][0] == pytest.approx(120, rel=0.15)
    assert spoken["fear"][0] > 1.25 * spoken["neutral"][0]
    loudness = {emotion: level for emotion, (_, level) in spoken.items()}
    assert max(loudness, key=loudness.get) == "angry"
    assert min(loudness, key=loudness.get) == "sad"


def pitch_of(sound: np.ndarray) -> float:
    """Median over frames of the strongest autocorrelation's frequency, Hz."""
    lags = np.arange(RATE // 400, RATE // 60)
    found = []
    for start in range(0, len(sound) - 1600, 400):
        frame = sound[start : start + 1600] - sound[start : start + 1600].mean()
        if np.sqrt(np.mean(frame**2)) > 0.02:
            score = [np.dot(frame[:-lag], frame[lag:]) / (1600 - lag) for lag in lags]
            found.append(RATE / lags[int(np.argmax(score))])
    return float(np.median(found))
