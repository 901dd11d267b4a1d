"""One subject left out: the splits, and a whole fold with networks of a few units."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emotion_pipeline.data.artifact import Artifact, write_artifact
from emotion_pipeline.data.manifest import Clip, read_manifest, write_manifest
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.faces.crops import encode_raw
from emotion_pipeline.leave_one_out import run_fold, split_for
from emotion_pipeline.params import Params

CLIPS = [
    Clip(f"{subject}_{label}_{take}", "", "train", label, subject)
    for subject in ("ann", "bob", "cid")
    for label in ("happy", "sad")
    for take in range(2)
]


def test_the_subject_is_test_the_next_one_val_and_all_others_train():
    more = [*CLIPS, Clip("dot_sad_0", "", "val", "sad", "dot"), Clip("stray", "", "", "", "ann")]
    split = {clip.clip_id: clip.split for clip in split_for(more, "bob")}
    by_subject = {subject: {split[c.clip_id] for c in more if c.subject == subject and c.split} for subject in
                  ("ann", "bob", "cid", "dot")}  # fmt: skip
    assert by_subject == {"ann": {"train"}, "bob": {"test"}, "cid": {"val"}, "dot": {"train"}}
    assert split["stray"] == ""
    assert {c.subject for c in split_for(more, "dot") if c.split == "val"} == {"ann"}


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (CLIPS, "no clip shows 'eve'; the subjects are ann, bob, cid"),
        ([*CLIPS, Clip("who", "", "train", "sad", "")], "nobody is named as the subject of clip who"),
    ],
)
def test_a_fold_that_cannot_be_made_is_refused(clips, message):
    with pytest.raises(UserError, match=message):
        split_for(clips, "eve")


def test_two_subjects_are_too_few():
    with pytest.raises(UserError, match="2 subjects; three are needed"):
        split_for([c for c in CLIPS if c.subject != "cid"], "ann")


@pytest.fixture
def tiny(params: Params) -> Params:
    """One seed, a model of each kind, two fusions' worth of folds, networks of a few units."""
    temporal = {}
    for name in ("vgg_maximum", "vgg_lstm", "c3d_central", "c3d_lstm", "c3d_lstm_overlap8", "audio_mlp"):
        model = params.train_temporal[name]
        if model.model != "scores":
            small = {"fit": model.fit.model_copy(update={"epochs": 2}), "descriptor": 4, "hidden": 4}
            model = model.model_copy(update={key: value for key, value in small.items() if hasattr(model, key)})
        temporal[name] = model
    fusion = params.train_fusion
    few = {name: getattr(fusion, name).model_copy(update={"folds": 2}) for name in ("svm", "weighted_mean")}
    quick = {"epochs": 1, "width": 0.03, "uniform_epochs": 1}
    c3d = {name: own.model_copy(update=quick) for name, own in params.finetune_c3d.items()}
    extract = {name: own.model_copy(update={"overlaps": (0, 8)}) for name, own in params.extract_c3d.items()}
    ensemble = params.train_ensemble["submission_7"].model_copy(update={"members": ("vgg_lstm", "audio_mlp")})
    changes = {"finetune_c3d": c3d, "extract_c3d": extract, "train_temporal": temporal}
    changes |= {"train_fusion": fusion.model_copy(update=few), "train_ensemble": {"submission_7": ensemble}}
    changes |= {"training": params.training.model_copy(update={"seeds": (1,)})}
    still = params.finetune_vgg.model_copy(update={"images": "none"})
    return params.model_copy(update={**changes, "finetune_vgg": still})


@pytest.fixture
def make_data(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, clips: list[Clip]) -> Path:
        data, rng = tmp_path / name, np.random.default_rng(3)
        (data / "ingest").mkdir(parents=True)
        write_manifest(data / "ingest" / "clips.csv", clips)
        for stage in ("ingest", "track", "extract_vgg", "extract_audio"):
            (data / stage).mkdir(exist_ok=True)
            (data / stage / "failures.csv").write_text("clip_id,reason,detail\n")
        for clip in clips:
            pictures = list(rng.integers(0, 256, (18, 224, 224, 3), dtype=np.uint8))
            track = Artifact({"frame": np.arange(18, dtype=np.int32)}, pieces=encode_raw(pictures))
            scores = rng.dirichlet(np.ones(7), 18).astype(np.float32)
            frames = Artifact({"features": rng.random((18, 6), np.float32), "scores": scores})
            sound = Artifact({"features": rng.random((1, 9), np.float32)})
            for stage, artifact in (("track", track), ("extract_vgg", frames), ("extract_audio", sound)):
                write_artifact(data / stage / f"{clip.clip_id}.h5", clip.clip_id, artifact)
        return data

    return make


def test_a_whole_fold_and_labels_of_its_subject_change_no_model(tiny, make_data, runtime, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fold = make_data("first", CLIPS) / "leave_one_out" / "bob"
    run_fold("bob", tmp_path / "first", fold, tiny, runtime)
    assert {folder.name for folder in fold.iterdir()} == {"ingest", "train_temporal", "train_fusion", "train_ensemble"}
    assert {c.subject for c in read_manifest(fold / "ingest/clips.csv") if c.split == "test"} == {"bob"}
    files = sorted(path.relative_to(fold) for path in fold.rglob("scores.h5"))
    models = len(tiny.train_temporal) + 4 + len(type(tiny.train_fusion).model_fields) + 2  # refitted ones, both of 7
    assert len(files) == models
    nonsense = [replace(c, label=EMOTIONS[0]) if c.subject == "bob" else c for c in CLIPS]
    other = make_data("second", nonsense) / "leave_one_out" / "bob"
    run_fold("bob", tmp_path / "second", other, tiny, runtime)
    assert all((fold / file).read_bytes() == (other / file).read_bytes() for file in files)
