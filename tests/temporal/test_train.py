import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_pipeline.data.artifact import Artifact, write_artifact
from emotion_pipeline.data.models import read_model
from emotion_pipeline.data.scores import REFIT, read_scores, rows_of
from emotion_pipeline.data.sequences import Standardisation, load_sequences, padded, standardise
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.metrics import accuracy, predicted_labels
from emotion_pipeline.temporal.examples import read_sequences
from emotion_pipeline.temporal.fit import FITTERS
from emotion_pipeline.temporal.model import SCORERS, score_clips
from emotion_pipeline.temporal.networks import LSTMClassifier
from emotion_pipeline.temporal.train import Job, train_temporal
from emotion_pipeline.training.loop import chosen_on_val
from emotion_pipeline.training.model import read_trained
from emotion_pipeline.training.svm import choose_c, fit_svm, svm_scores

from .conftest import FAILED, LONG, NO_FACE, WIDTH

FITTED = ("vgg_lstm", "c3d_lstm", "c3d_lstm_overlap8", "audio_mlp", "audio_svm")
MODELS = ("vgg_maximum", "c3d_weighted_overlap8", *FITTED)
SEED = 1


def train(name, clips, features, small, out, seed=SEED, **changes) -> Path:
    """Train with one seed; the folder of its scores, with the model beside them in `models`."""
    params = small[name].model_copy(update=changes)
    train_temporal(Job(name, clips, features / params.features, params, out, out / "models"), [seed])
    return out / f"seed_{seed}"


def model_file(folder: Path) -> Path:
    return folder.parent / "models" / f"{folder.name}.safetensors"


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Of all files that one training leaves."""
    return {path.name: path.read_bytes() for path in (*sorted(folder.iterdir()), model_file(folder))}


def test_every_kind_of_model_is_fitted_and_scores(small):
    assert {type(model) for model in small.values()} == set(FITTERS) == set(SCORERS)
    assert set(small) == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_scores_of_all_clips_absent_ones_masked(name, clips, features, small, tmp_path):
    table = read_scores(train(name, clips, features, small, tmp_path) / "scores.h5")
    assert table.clip_ids == tuple(sorted(c.clip_id for c in clips))
    assert [i for i, p in zip(table.clip_ids, table.present, strict=True) if not p] == [NO_FACE, FAILED]
    np.testing.assert_array_equal(np.isnan(table.scores).all(axis=1), ~table.present)
    np.testing.assert_allclose(table.scores[table.present].sum(axis=1), 1, rtol=1e-5)
    assert table.scores.dtype == np.float32
    if name not in ("vgg_maximum", "c3d_weighted_overlap8", "audio_svm"):
        assert table.descriptor.shape == (len(clips), 9)
        np.testing.assert_array_equal(np.isnan(table.descriptor).any(axis=1), ~table.present)
    test = [c for c in clips if c.split == "test" and c.label]
    rows = rows_of(table, [c.clip_id for c in test])
    truth = np.array([EMOTIONS.index(c.label) for c in test])
    assert accuracy(truth, predicted_labels(table.scores[rows], table.present[rows])) > 0.35  # chance: 0.14


@pytest.mark.parametrize("name", MODELS)
def test_twice_the_same_bytes_and_test_labels_change_nothing(name, clips, features, small, tmp_path, monkeypatch):
    first = train(name, clips, features, small, tmp_path / "first")
    monkeypatch.setenv("EMOTION_PIPELINE_STORE", str(tmp_path / "another"))  # trained a second time
    nonsense = [replace(c, label="disgust") if c.split == "test" else c for c in reversed(clips)]
    second = train(name, nonsense, features, small, tmp_path / "second")
    assert bytes_of(first) == bytes_of(second)
    assert set(bytes_of(first)) == {"scores.h5", "seed_1.safetensors"} | ({"history.csv"} if name in FITTED else set())


@pytest.mark.parametrize("name", FITTED)
def test_another_seed_gives_another_model(name, clips, features, small, tmp_path):
    first, second = (train(name, clips, features, small, tmp_path / str(s), seed=s) for s in (SEED, SEED + 1))
    assert model_file(first).read_bytes() != model_file(second).read_bytes()


@pytest.mark.parametrize("name", MODELS)
def test_a_refitted_model_learns_the_clips_of_val_with_what_was_found_on_them(name, clips, features, small, tmp_path):
    train(name, clips, features, small, tmp_path, refit=True)
    first, second = (read_trained(tmp_path / "models" / place / "seed_1.safetensors") for place in ("", REFIT))
    if name not in FITTED:
        assert second == first
        return
    header, *rows = second.history
    if name == "audio_svm":
        assert [row[0] for row in rows] == [chosen_on_val(first.history)]
    else:
        assert len(rows) == chosen_on_val(first.history)
        assert all(np.isnan(row[header.index("val_loss")]) for row in rows)
    others = [replace(c, label="disgust" if "happy" in c.clip_id and c.split == "val" else c.label) for c in clips]
    train(name, others, features, small, tmp_path / "others", refit=True)
    third = read_trained(tmp_path / "others/models" / REFIT / "seed_1.safetensors")
    assert any((third.tensors[key] != value).any() for key, value in second.tensors.items())


def trainings(caplog, clips, features, params, out, seeds) -> int:
    """How many networks are trained now."""
    caplog.set_level("INFO")
    caplog.clear()
    train_temporal(Job("audio_mlp", clips, features / params.features, params, out, out / "models"), seeds)
    return sum("best epoch" in record.message for record in caplog.records)


def test_a_seed_is_trained_once(clips, features, small, tmp_path, caplog):
    params = small["audio_mlp"]
    for seeds, trained in (([1], 1), ([1, 2], 1), ([2, 1], 0)):
        assert trainings(caplog, clips, features, params, tmp_path, seeds) == trained
    assert trainings(caplog, clips, features, params.model_copy(update={"dropout": 0.1}), tmp_path, [1]) == 1


@pytest.mark.parametrize("added", ["unlabelled", "test"])
def test_a_clip_that_is_no_training_clip_trains_nothing_and_changes_no_other_clips_scores(
    added, clips, features, small, tmp_path, caplog
):
    params = small["audio_mlp"]
    shutil.copytree(features / "extract_audio", tmp_path / "extract_audio")
    assert trainings(caplog, clips, tmp_path, params, tmp_path / "out", [1]) == 1
    before = read_scores(tmp_path / "out/seed_1/scores.h5")
    values = np.ones((1, WIDTH), np.float32)
    write_artifact(tmp_path / "extract_audio/added.h5", "added", Artifact({"features": values}))
    new = replace(
        clips[0], clip_id="added", **({"split": "", "label": ""} if added == "unlabelled" else {"split": added})
    )
    assert trainings(caplog, [*clips, new], tmp_path, params, tmp_path / "out", [1]) == 0
    after = read_scores(tmp_path / "out/seed_1/scores.h5")
    assert set(after.clip_ids) - set(before.clip_ids) == {"added"}
    rows = rows_of(after, before.clip_ids)
    np.testing.assert_array_equal(after.scores[rows], before.scores)
    np.testing.assert_array_equal(after.descriptor[rows], before.descriptor)
    assert np.isfinite(after.scores[after.clip_ids.index("added")]).all()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_file_gives_every_clip_its_scores_alone(name, clips, features, small, tmp_path):
    folder = train(name, clips, features, small, tmp_path)
    model, table = read_trained(model_file(folder)), read_scores(folder / "scores.h5")
    for clip_id in (LONG, "val_happy_0", "zz_2"):
        read = read_sequences([clip_id], features / small[name].features, model.params)
        alone, row = score_clips(model, read, torch.device("cpu")), rows_of(table, [clip_id])
        np.testing.assert_array_equal(alone.scores, table.scores[row])
        if table.descriptor is not None:
            np.testing.assert_array_equal(alone.descriptor, table.descriptor[row])


def test_features_of_another_width_are_refused(clips, features, small, tmp_path):
    model = read_trained(model_file(train("audio_mlp", clips, features, small, tmp_path)))
    read = {LONG: np.zeros((1, 5), np.float32)}
    with pytest.raises(UserError, match="the features have 5 values a step, the model was trained on 12"):
        score_clips(model, read, torch.device("cpu"))


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_another_file_is_no_model(content, tmp_path):
    (tmp_path / "seed_1.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"seed_1\.safetensors"):
        read_trained(tmp_path / "seed_1.safetensors")


def test_failed_clips_of_the_features_stand_beside_the_scores(clips, features, small, tmp_path):
    train("vgg_maximum", clips, features, small, tmp_path)
    assert (tmp_path / "failures.csv").read_text() == f"clip_id,reason,detail\n{FAILED},unreadable,cut\n"


def test_what_was_found_on_val():
    assert chosen_on_val([]) == 0
    assert chosen_on_val([("epoch", "train_loss", "val_loss", "val_accuracy"), (1, 3, 2, 0.1), (2, 2, 1, 0.2)]) == 2
    assert chosen_on_val([("epoch", "train_loss", "val_loss", "val_accuracy"), (1, 3, 1.5, 0.1), (2, 2, 1.5, 1)]) == 1
    assert chosen_on_val([("c", "val_accuracy"), (0.1, 0.5), (1.0, 0.7), (10.0, 0.7)]) == 1


def test_val_and_train_labels_do_change_something(clips, features, small, tmp_path):
    first = train("vgg_lstm", clips, features, small, tmp_path / "first")
    for split in ("train", "val"):
        others = [
            replace(c, label="disgust" if "happy" in c.clip_id else c.label) if c.split == split else c for c in clips
        ]
        second = train("vgg_lstm", others, features, small, tmp_path / split)
        assert bytes_of(first)["history.csv"] != bytes_of(second)["history.csv"]


def test_the_model_file_is_enough_to_repeat_the_scores(clips, features, small, tmp_path):
    out = train("vgg_lstm", clips, features, small, tmp_path)
    tensors, description = read_model(model_file(out))
    params = description["params"]
    lstm = LSTMClassifier(description["inputs"], params["hidden"], params["descriptor"], len(description["classes"]))
    lstm.load_state_dict({k[6:]: torch.from_numpy(v) for k, v in tensors.items() if k.startswith("model.")})
    by = Standardisation(tensors["standardise.features.mean"], tensors["standardise.features.scale"])
    table = read_scores(out / "scores.h5")
    for clip_id in (LONG, "val_happy_0", "zz_2"):  # each alone, in a batch of its own
        array = load_sequences(features / "extract_vgg", [clip_id], max_length=params["max_length"])[clip_id]
        descriptor, logits = lstm.eval()(*padded([standardise(array, by)]))
        row = rows_of(table, [clip_id])[0]
        np.testing.assert_allclose(logits.softmax(1)[0].detach(), table.scores[row], atol=1e-5)
        np.testing.assert_allclose(descriptor[0].detach(), table.descriptor[row], atol=1e-5)


def test_standardisation_is_measured_on_train_alone(clips, features, small, tmp_path):
    out = train("vgg_lstm", clips, features, small, tmp_path)
    ids = [c.clip_id for c in clips if c.split == "train"]
    frames = np.concatenate([*load_sequences(features / "extract_vgg", ids, max_length=15).values()])
    tensors, _ = read_model(model_file(out))
    np.testing.assert_allclose(tensors["standardise.features.mean"], frames.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(tensors["standardise.features.scale"], frames.std(axis=0), atol=1e-5)
    out = train("vgg_lstm", clips, features, small, tmp_path / "raw", standardise=False)
    assert not any(k.startswith("standardise") for k in read_model(model_file(out))[0])


def test_history(clips, features, small, tmp_path):
    out = train("audio_mlp", clips, features, small, tmp_path)
    rows = list(csv.DictReader((out / "history.csv").read_text().splitlines()))
    assert list(rows[0]) == ["epoch", "train_loss", "val_loss", "val_accuracy"]
    assert [int(r["epoch"]) for r in rows] == list(range(1, 13))
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    out = train("audio_svm", clips, features, small, tmp_path / "svm")
    rows = list(csv.DictReader((out / "history.csv").read_text().splitlines()))
    assert [float(r["c"]) for r in rows] == sorted(small["audio_svm"].c)


def test_wrong_overlap(clips, features, small, tmp_path):
    message = r"train_temporal\.c3d_lstm: overlap: 7 is not among the overlaps \[0, 8\].*extract_c3d\.weighted"
    with pytest.raises(UserError, match=message):
        train("c3d_lstm", clips, features, small, tmp_path, overlap=7)


def test_augmentation_changes_what_is_learnt_and_not_what_is_scored(clips, features, small, tmp_path, monkeypatch):
    plain = train("vgg_lstm", clips, features, small, tmp_path / "plain")
    for changes in ({"augment_shortest": 0.5}, {"augment_stretch": 1.3}, {"augment_flip": True}):
        out = train("vgg_lstm", clips, features, small, tmp_path / next(iter(changes)), **changes)
        first, others = (list(csv.DictReader((f / "history.csv").read_text().splitlines())) for f in (plain, out))
        assert first[0]["train_loss"] != others[0]["train_loss"]
        monkeypatch.setenv("EMOTION_PIPELINE_STORE", str(tmp_path / "another" / next(iter(changes))))
        again = train("vgg_lstm", clips, features, small, tmp_path / "again", **changes)
        assert bytes_of(again) == bytes_of(out)


def test_flip_without_flipped_features_says_what_to_set(clips, features, small, tmp_path):
    with pytest.raises(UserError, match=r"augment_flip: .* set extract_c3d\.weighted\.flipped to true"):
        train("c3d_lstm", clips, features, small, tmp_path, augment_flip=True)


def test_modality_absent_everywhere(clips, features, small, tmp_path):
    for clip in clips:
        empty = Artifact({"features": np.zeros((0, WIDTH), np.float32)}, absent="no_sound: no stream")
        write_artifact(tmp_path / "extract_audio" / f"{clip.clip_id}.h5", clip.clip_id, empty)
    with pytest.raises(UserError, match=r"train_temporal\.audio_svm: of the 21 labelled clips of split train, 0 have"):
        train("audio_svm", clips, tmp_path, small, tmp_path / "out")


def test_nan_and_missing_file_name_the_clip(clips, features, small, tmp_path):
    shutil.copytree(features / "extract_audio", tmp_path / "extract_audio")
    spoiled = Artifact({"features": np.full((1, WIDTH), np.nan, np.float32)})
    write_artifact(tmp_path / "extract_audio" / "zz_1.h5", "zz_1", spoiled)
    with pytest.raises(UserError, match=r"train_temporal\.audio_mlp: .*zz_1"):
        train("audio_mlp", clips, tmp_path, small, tmp_path / "out")
    (tmp_path / "extract_audio" / "zz_1.h5").unlink()
    with pytest.raises(UserError, match=r"zz_1\.h5: no such file.*dvc repro extract_audio"):
        train("audio_mlp", clips, tmp_path, small, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("scores.h5"))


@pytest.mark.parametrize("classes", [[0, 1, 2, 5], [2, 5]])
def test_svm_scores_follow_the_decisions_of_scikit_learn(classes):
    from sklearn.svm import LinearSVC

    rng = np.random.default_rng(0)
    labels = rng.choice(classes, 40)
    values = rng.standard_normal((40, 6)) + labels[:, None] * np.arange(6)
    scores = svm_scores(fit_svm(values, labels, 0.01, 1), values)
    reference = LinearSVC(C=0.01, random_state=1, max_iter=20_000).fit(values, labels)
    np.testing.assert_array_equal(scores.argmax(axis=1), reference.predict(values))
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    assert set(np.flatnonzero(scores.sum(axis=0))) == set(classes)


def test_smallest_of_equally_good_c_is_chosen():
    values = np.repeat(np.eye(2) * 5, 4, axis=0)
    labels = np.repeat([3, 4], 4)
    rows = np.arange(8)
    assert choose_c(values, labels, [1.0, 0.1], [(rows, rows)], seed=1) == (0.1, [(0.1, 1.0), (1.0, 1.0)])
