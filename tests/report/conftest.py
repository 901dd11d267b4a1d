"""The folders of all stages, made by hand: seven clips of test, two of val, one of train."""

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from emotion_pipeline.data.artifact import Artifact, Value, write_artifact
from emotion_pipeline.data.manifest import SPLITS, Clip, read_manifest, write_manifest
from emotion_pipeline.data.scores import ScoreTable, seed_folder, write_scores
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.faces.crops import encode_raw
from emotion_pipeline.faces.gallery import write_gallery
from emotion_pipeline.params import EvaluateParams, GalleryParams, Params, load_params
from emotion_pipeline.report.sources import KINDS, failure_folders, kinds_of
from tests.conftest import REPOSITORY

SEEDS = (1, 5)


GALLERY = GalleryParams(strip_faces=3, worst_clips=2)


def params_of(title: str = "tiny") -> Params:
    """Those of the sample, but for the report's own, and two seeds."""
    whole = load_params(REPOSITORY / "params.yaml")
    own = EvaluateParams(title=title, bootstrap_samples=200, seed=1)
    training = whole.training.model_copy(update={"seeds": SEEDS})
    return whole.model_copy(update={"gallery": GALLERY, "evaluate": own, "training": training})


PARAMS = params_of()

HOSTILE = "<script>alert('x')</script> & \"quotes\""


def clip(clip_id: str, split: str, label: str) -> Clip:
    return Clip(clip_id, f"{clip_id}.mp4", split, label, subject=clip_id[0])


CLIPS = (
    clip("a_train", "train", "angry"),
    clip("b_val", "val", "angry"),
    clip("c_val", "val", "sad"),
    clip("d_test", "test", "angry"),
    clip("e_test", "test", "angry"),
    clip("f_test", "test", "angry"),
    clip("g_test", "test", "happy"),
    clip("h_unlabelled", "test", ""),
)

ANSWERS = {
    "a_train": "angry",
    "b_val": "angry",
    "c_val": "angry",
    "d_test": "angry",
    "e_test": "happy",
    "f_test": None,
    "g_test": "happy",
    "h_unlabelled": "surprise",
}
"""By hand: test 2 of 4 right, one absent; angry 1 of 3, happy 1 of 1; train 1 of 1; val 1 of 2."""


def score_table(answers: dict[str, str | None]) -> ScoreTable:
    ids = tuple(sorted(answers))
    chosen = [answers[i] for i in ids]
    scores = np.array([[0.4 if e == label else 0.1 for e in EMOTIONS] for label in chosen], np.float32)
    return ScoreTable(ids, scores, np.array([label is not None for label in chosen]))


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def write_track(data: Path, clip_id: str, faces: int) -> None:
    pictures = [np.full((224, 224, 3), 10 * i % 256, np.uint8) for i in range(faces)]
    frames = np.arange(5, 5 + faces, dtype=np.int32)
    write_artifact(data / "track" / f"{clip_id}.h5", clip_id, Artifact({"frame": frames}, pieces=encode_raw(pictures)))


def write_quality(data: Path, clip_id: str, share: float, gap: int = 0, **more: Value) -> None:
    """Figures of a clip of ten frames with one track, and a JPEG picture."""
    figures: dict[str, Value] = {"frames": 10, "share_with_face": share, "share_in_sequence": share, "tracks": 1}
    figures |= {"faces": int(10 * share), "faces_at_once": 1, "longest_gap": gap, "face_side": 90.0}
    figures |= {"eye_distance": 40.0, "jitter_before": 0.02, "jitter_after": 0.004, "chosen_track": 0}
    figures |= {"chosen_because": "only"} | more
    sheet = cv2.imencode(".jpg", np.full((20, 40, 3), 128, np.uint8))[1]
    write_artifact(data / "quality" / f"{clip_id}.h5", clip_id, Artifact({"contact_sheet": sheet}, figures))


def write_data(data: Path, clips: Sequence[Clip], answers: dict[str, str | None]) -> Path:
    (data / "ingest").mkdir(parents=True)
    write_manifest(data / "ingest" / "clips.csv", clips)
    for folder in failure_folders(data, PARAMS).values():
        write_rows(folder / "failures.csv", ("clip_id", "reason", "detail"), [])
    for name, kind in kinds_of(PARAMS).items():
        for seed in SEEDS:
            write_scores(seed_folder(data / KINDS[kind] / name, seed) / "scores.h5", score_table(answers))
    epochs = [(1, 2.0, 1.9, 0.25), (2, 1.5, 1.8, 0.5)]
    c3d = [f"finetune_c3d/{network}" for network in PARAMS.finetune_c3d]
    for name in ("train_temporal/vgg_lstm/seed_1", "train_temporal/c3d_lstm/seed_1", "finetune_vgg", *c3d):
        write_rows(data / name / "history.csv", ("epoch", "train_loss", "val_loss", "val_accuracy"), epochs[:1])
    write_rows(
        data / "train_temporal/vgg_lstm/seed_1/history.csv", ("epoch", "train_loss", "val_loss", "val_accuracy"), epochs
    )
    write_rows(data / "train_temporal/audio_svm/seed_1/history.csv", ("c", "val_accuracy"), [(0.001, 0.5), (0.01, 0.4)])
    write_rows(
        data / "finetune_vgg/accuracy.csv",
        ("part", "n", "accuracy", "uar", *EMOTIONS),
        [("PublicTest", 3589, 0.6523, 0.61, *(0.1 * i for i in range(7)))],
    )
    for i, c in enumerate(clips):
        write_track(data, c.clip_id, i)
        write_quality(data, c.clip_id, share=1 - i / 10)
    return with_gallery(data)


def with_gallery(data: Path) -> Path:
    """The same folder, what stage gallery makes of it as it now is included."""
    write_gallery(
        read_manifest(data / "ingest/clips.csv"),
        *(data / name for name in ("track", "quality", "gallery", "reports")),
        params=GALLERY,
    )
    return data


@pytest.fixture(scope="module")
def data_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders, for tests that only read them."""
    return write_data(tmp_path_factory.mktemp("once") / "data", CLIPS, ANSWERS)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data", CLIPS, ANSWERS)


@pytest.fixture
def without_labels_of(tmp_path: Path) -> Callable[..., Path]:
    """The same folders where some splits have no labels."""

    def make(*splits: str) -> Path:
        assert set(splits) <= set(SPLITS)
        clips = [clip(c.clip_id, c.split, "" if c.split in splits else c.label) for c in CLIPS]
        return write_data(tmp_path / "-".join(splits), clips, ANSWERS)

    return make
