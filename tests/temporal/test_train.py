import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_pipeline.data.artifact import Artifact, write_artifact
from emotion_pipeline.data.models import read_model
from emotion_pipeline.data.scores import read_scores, rows_of
from emotion_pipeline.data.sequences import Standardisation, load_sequences, padded, standardise
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.metrics import split_metrics
from emotion_pipeline.temporal.lstm import LSTMClassifier
from emotion_pipeline.temporal.seeds import train_seeds
from emotion_pipeline.temporal.svm import choose_c, fit_svm, svm_scores
from emotion_pipeline.temporal.train import TRAINERS, train_temporal
from emotion_pipeline.training.loop import found_on_val

from .conftest import FAILED, LONG, NO_FACE, WIDTH

FITTED = ("vgg_lstm", "c3d_lstm", "c3d_lstm_overlap8", "audio_mlp", "audio_svm")
MODELS = ("vgg_maximum", "c3d_weighted_overlap8", *FITTED)
SEED = 1


def train(name, clips, features, small, out, **changes) -> Path:
    params = small[name].model_copy(update=changes)
    train_temporal(name, clips, features / params.features, params, SEED, out)
    return out


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_every_params_type_has_a_trainer(small):
    assert {type(model) for model in small.values()} == set(TRAINERS)
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
    assert split_metrics(truth, table.scores[rows], table.present[rows])["accuracy"] > 0.35  # chance: 0.14


@pytest.mark.parametrize("name", MODELS)
def test_twice_the_same_bytes_and_test_labels_change_nothing(name, clips, features, small, tmp_path):
    first = train(name, clips, features, small, tmp_path / "first")
    nonsense = [replace(c, label="disgust") if c.split == "test" else c for c in reversed(clips)]
    second = train(name, nonsense, features, small, tmp_path / "second")
    assert bytes_of(first) == bytes_of(second)
    assert set(bytes_of(first)) == {"scores.h5"} | ({"history.csv", "model.safetensors"} if name in FITTED else set())


@pytest.mark.parametrize("name", FITTED)
def test_another_seed_gives_another_model(name, clips, features, small, tmp_path):
    first = train(name, clips, features, small, tmp_path / "first")
    params = small[name]
    train_temporal(name, clips, features / params.features, params, SEED + 1, tmp_path / "second")
    assert bytes_of(first)["model.safetensors"] != bytes_of(tmp_path / "second")["model.safetensors"]


@pytest.mark.parametrize("name", MODELS)
def test_with_what_was_found_on_val_the_clips_of_val_are_trained_on_too(name, clips, features, small, tmp_path):
    params = small[name]
    folder = features / params.features
    train_seeds(name, clips, folder, params, [SEED], tmp_path / "train")
    train_seeds(name, clips, folder, params, [SEED], tmp_path / "both", before=tmp_path / "train")
    before, after = (bytes_of(tmp_path / part / f"seed_{SEED}") for part in ("train", "both"))
    if name not in FITTED:
        assert after == before
        return
    rows = list(csv.DictReader(after["history.csv"].decode().splitlines()))
    found = found_on_val(tmp_path / "train" / f"seed_{SEED}" / "history.csv")
    if name == "audio_svm":
        assert [float(row["c"]) for row in rows] == [found]
    else:
        assert len(rows) == found
        assert all(row["val_loss"] == "nan" for row in rows)
    others = [replace(c, label="disgust" if "happy" in c.clip_id and c.split == "val" else c.label) for c in clips]
    train_temporal(name, others, folder, params, SEED, tmp_path / "others", found=found)
    assert bytes_of(tmp_path / "others")["model.safetensors"] != after["model.safetensors"]


def test_a_seed_is_trained_once(clips, features, small, tmp_path, caplog):
    caplog.set_level("INFO")
    params = small["audio_mlp"]
    for seeds, trained in (([1], 1), ([1, 2], 1), ([2, 1], 0)):
        caplog.clear()
        train_seeds("audio_mlp", clips, features / params.features, params, seeds, tmp_path / "out")
        assert sum("best epoch" in record.message for record in caplog.records) == trained
    quick = params.model_copy(update={"dropout": 0.1})
    train_seeds("audio_mlp", clips, features / params.features, quick, [1], tmp_path / "out")
    assert any("best epoch" in record.message for record in caplog.records)


def test_what_was_found_on_val(tmp_path):
    file = tmp_path / "history.csv"
    assert found_on_val(file) == 0
    file.write_text("epoch,train_loss,val_loss,val_accuracy\n1,3,2,0.1\n2,2,1,0.2\n3,1,1.5,0.9\n")
    assert found_on_val(file) == 2
    file.write_text("c,val_accuracy\n0.1,0.5\n1,0.7\n10,0.7\n")
    assert found_on_val(file) == 1
    file.write_text("epoch,val_loss\n")
    with pytest.raises(UserError, match=r"history\.csv: empty"):
        found_on_val(file)


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
    tensors, description = read_model(out / "model.safetensors")
    params = description["params"]
    lstm = LSTMClassifier(description["inputs"], params["hidden"], params["descriptor"], len(description["classes"]))
    lstm.load_state_dict({k[6:]: torch.from_numpy(v) for k, v in tensors.items() if k.startswith("model.")})
    by = Standardisation(tensors["standardise.mean"], tensors["standardise.scale"])
    table = read_scores(out / "scores.h5")
    for clip_id in (LONG, "val_happy_0", "zz_2"):  # each alone, in a batch of its own
        array = load_sequences(features / "extract_vgg", [clip_id], max_length=params["max_length"]).arrays[0]
        descriptor, logits = lstm.eval()(*padded([standardise(array, by)]))
        row = rows_of(table, [clip_id])[0]
        np.testing.assert_allclose(logits.softmax(1)[0].detach(), table.scores[row], atol=1e-5)
        np.testing.assert_allclose(descriptor[0].detach(), table.descriptor[row], atol=1e-5)


def test_standardisation_is_measured_on_train_alone(clips, features, small, tmp_path):
    out = train("vgg_lstm", clips, features, small, tmp_path)
    ids = [c.clip_id for c in clips if c.split == "train"]
    frames = np.concatenate(load_sequences(features / "extract_vgg", ids, max_length=15).arrays)
    tensors, _ = read_model(out / "model.safetensors")
    np.testing.assert_allclose(tensors["standardise.mean"], frames.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(tensors["standardise.scale"], frames.std(axis=0), atol=1e-5)
    out = train("vgg_lstm", clips, features, small, tmp_path / "raw", standardise=False)
    assert not any(k.startswith("standardise") for k in read_model(out / "model.safetensors")[0])


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


def test_augmentation_changes_what_is_learnt_and_not_what_is_scored(clips, features, small, tmp_path):
    plain = train("vgg_lstm", clips, features, small, tmp_path / "plain")
    for changes in ({"shortest": 0.5}, {"stretch": 1.3}, {"flip": True}):
        augment = small["vgg_lstm"].augment.model_copy(update=changes)
        out = train("vgg_lstm", clips, features, small, tmp_path / next(iter(changes)), augment=augment)
        first, others = (list(csv.DictReader((f / "history.csv").read_text().splitlines())) for f in (plain, out))
        assert first[0]["train_loss"] != others[0]["train_loss"]
        params = small["vgg_lstm"].model_copy(update={"augment": augment})
        train_temporal("vgg_lstm", clips, features / "extract_vgg", params, SEED, tmp_path / "again")
        assert bytes_of(tmp_path / "again") == bytes_of(out)


def test_flip_without_flipped_features_says_what_to_set(clips, features, small, tmp_path):
    flip = small["c3d_lstm"].augment.model_copy(update={"flip": True})
    with pytest.raises(UserError, match=r"augment\.flip: .* set extract_c3d\.weighted\.flipped to true"):
        train("c3d_lstm", clips, features, small, tmp_path, augment=flip)


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
    assert not (tmp_path / "out").exists()


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
    svm, tried = choose_c((values, labels), (values, labels), [1.0, 0.1], seed=1)
    assert tried == [(0.1, 1.0), (1.0, 1.0)]
    np.testing.assert_array_equal(svm.weight, fit_svm(values, labels, 0.1, 1).weight)
