from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_pipeline.data.manifest import Clip
from emotion_pipeline.data.models import read_model
from emotion_pipeline.data.scores import REFIT, ScoreTable, read_scores, rows_of, seed_folder, write_scores
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.fusion import SCORE_FUSIONS
from emotion_pipeline.fusion.moddrop import cross_modality_penalty
from emotion_pipeline.fusion.seeds import fuse_ensemble
from emotion_pipeline.fusion.train import FUSERS, train_fusion
from emotion_pipeline.metrics import split_metrics
from emotion_pipeline.params import EnsembleParams, GammaParams, Params, ScoreFusionParams, TrainFusionParams
from emotion_pipeline.training.loop import found_on_val

METHODS = tuple(TrainFusionParams.model_fields)
NOTHING = "test_sad_0"
MODELS = ("vgg_lstm", "c3d_lstm", "audio_mlp")


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [
        Clip(f"{split}_{emotion}_{take}", "", split, emotion, "")
        for split, takes in (("train", 6), ("val", 3), ("test", 6))
        for emotion in EMOTIONS
        for take in range(takes)
    ]


@pytest.fixture(scope="module")
def params(params: Params) -> Params:
    """Those of the sample with three models and short, quick trainings."""
    fusion = params.train_fusion
    fit = fusion.moddrop.fit.model_copy(update={"epochs": 12, "batch_clips": 24, "learning_rate": 0.02})
    changes = {
        name: getattr(fusion, name).model_copy(
            update={
                "models": MODELS,
                **(
                    {"fit": fit, "dropout": 0.2, "drop_probability": 0.3}
                    if hasattr(getattr(fusion, name), "fit")
                    else {}
                ),
            }
        )
        for name in METHODS
    }
    return params.model_copy(update={"train_fusion": fusion.model_copy(update=changes)})


@pytest.fixture(scope="module")
def temporal(clips, params, tmp_path_factory) -> Path:
    """Scores and descriptors of three models, each right on its own part of the clips; train known by heart."""
    folder, rng = tmp_path_factory.mktemp("data") / "train_temporal", np.random.default_rng(5)
    ids = tuple(sorted(c.clip_id for c in clips))
    truth = {c.clip_id: EMOTIONS.index(c.label) for c in clips}
    train = np.array([i.startswith("train") for i in ids])
    for model in MODELS:
        shown = np.where((rng.random(len(ids)) < 0.55) | train, [truth[i] for i in ids], rng.choice(7, len(ids)))
        descriptor = (np.eye(7)[shown] @ rng.standard_normal((7, 10)) * 2 + rng.standard_normal((len(ids), 10))).astype(
            np.float32
        )
        scores = np.exp(3 * np.eye(7)[shown] + 0.3 * rng.standard_normal((len(ids), 7)))
        present = (rng.random(len(ids)) < 0.9) | (model == MODELS[0])
        present[ids.index(NOTHING)] = False
        table = ScoreTable(ids, scores / scores.sum(1, keepdims=True), present, descriptor)
        write_scores(folder / model / "scores.h5", table)
    return folder


SEED = 1


def folders(temporal: Path) -> dict[str, Path]:
    return {model: temporal / model for model in MODELS}


def fuse(method, clips, temporal, params, out) -> Path:
    train_fusion(method, clips, folders(temporal), getattr(params.train_fusion, method), SEED, out)
    return out


def accuracy(table: ScoreTable, clips) -> float:
    test = [c for c in clips if c.split == "test"]
    rows, truth = rows_of(table, [c.clip_id for c in test]), np.array([EMOTIONS.index(c.label) for c in test])
    return split_metrics(truth, table.scores[rows], table.present[rows])["accuracy"]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_every_fusion_is_known():
    fields = TrainFusionParams.model_fields
    assert {f.annotation for f in fields.values()} == set(FUSERS)
    assert {name for name, f in fields.items() if f.annotation is ScoreFusionParams} == set(SCORE_FUSIONS)


@pytest.mark.parametrize("method", METHODS)
def test_scores_of_all_clips(method, clips, temporal, params, tmp_path):
    table = read_scores(fuse(method, clips, temporal, params, tmp_path) / "scores.h5")
    assert table.clip_ids == tuple(sorted(c.clip_id for c in clips))
    assert [i for i, p in zip(table.clip_ids, table.present, strict=True) if not p] == [NOTHING]
    np.testing.assert_array_equal(np.isnan(table.scores).all(axis=1), ~table.present)
    np.testing.assert_allclose(table.scores[table.present].sum(axis=1), 1, rtol=1e-5)
    single = read_scores(temporal / MODELS[0] / "scores.h5")
    assert accuracy(table, clips) > accuracy(single, clips)


@pytest.mark.parametrize("method", METHODS)
def test_twice_the_same_bytes_and_test_labels_change_nothing(method, clips, temporal, params, tmp_path):
    first = fuse(method, clips, temporal, params, tmp_path / "first")
    nonsense = [replace(c, label="disgust") if c.split == "test" else c for c in reversed(clips)]
    second = fuse(method, nonsense, temporal, params, tmp_path / "second")
    assert bytes_of(first) == bytes_of(second)
    beside = {"weighted_mean": {"weights.csv"}, "moddrop": {"history.csv", "model.safetensors"}}
    beside["score_tree"] = beside["svm"] = beside["moddrop"]
    assert set(bytes_of(first)) == {"scores.h5"} | beside.get(method, set())


@pytest.mark.parametrize("method", METHODS)
def test_an_absent_model_is_never_read(method, clips, temporal, params, tmp_path):
    """Zeros instead of NaN in the rows of absent models change no byte."""
    import h5py

    first = fuse(method, clips, temporal, params, tmp_path / "first")
    for model in MODELS:
        (tmp_path / "filled" / model).mkdir(parents=True)
        (tmp_path / "filled" / model / "scores.h5").write_bytes((temporal / model / "scores.h5").read_bytes())
        with h5py.File(tmp_path / "filled" / model / "scores.h5", "r+") as file:
            for name in ("scores", "descriptor"):
                file[name][...] = np.nan_to_num(file[name][()], nan=17.0)
    second = fuse(method, clips, tmp_path / "filled", params, tmp_path / "second")
    assert bytes_of(first) == bytes_of(second)


def test_weights_file(clips, temporal, params, tmp_path):
    lines = (fuse("weighted_mean", clips, temporal, params, tmp_path) / "weights.csv").read_text().splitlines()
    assert lines[0] == "model,weight"
    names, weights = zip(*(line.split(",") for line in lines[1:]), strict=True)
    assert names == MODELS
    assert sum(map(float, weights)) == pytest.approx(1, abs=1e-4)


def test_descriptors_are_standardised_on_train(clips, temporal, params, tmp_path):
    tensors, description = read_model(fuse("moddrop", clips, temporal, params, tmp_path) / "model.safetensors")
    assert description["params"]["hidden"] == params.train_fusion.moddrop.hidden
    table = read_scores(temporal / "audio_mlp" / "scores.h5")
    rows = [i for i, c in enumerate(table.clip_ids) if c.startswith("train") and table.present[i]]
    np.testing.assert_allclose(tensors["standardise.audio_mlp.mean"], table.descriptor[rows].mean(0), atol=1e-5)


def test_missing_model_says_what_to_run(clips, temporal, params, tmp_path):
    with pytest.raises(
        UserError, match=r"train_fusion\.mean: .*vgg_lstm/scores\.h5: .*dvc repro train_temporal@vgg_lstm"
    ):
        fuse("mean", clips, tmp_path / "train_temporal", params, tmp_path / "out")


def test_other_clips_than_the_manifest(clips, temporal, params, tmp_path):
    with pytest.raises(UserError, match=r"not the clips of the manifest; run `dvc repro train_temporal@"):
        fuse("mean", clips[1:], temporal, params, tmp_path)


def test_too_few_val_clips_for_the_folds(clips, temporal, params, tmp_path):
    few = [c if c.split != "val" or c.clip_id == "val_fear_0" else replace(c, label="") for c in clips]
    with pytest.raises(UserError, match=r"train_fusion\.weighted_mean: folds: 5, but val has only 1"):
        fuse("weighted_mean", few, temporal, params, tmp_path)


def test_gamma_shrinks_the_blocks_between_modalities(clips, temporal, params, tmp_path):
    norms = []
    for first in (0.0, 2.0):
        fusion = params.train_fusion.moddrop.model_copy(update={"gamma": GammaParams(first=first, factor=1.0)})
        train_fusion("moddrop", clips, folders(temporal), fusion, SEED, tmp_path / str(first))
        tensors, _ = read_model(tmp_path / str(first) / "model.safetensors")
        weight = torch.from_numpy(tensors["model.first.weight"])
        norms.append(cross_modality_penalty(weight, [fusion.hidden] * 3, [10] * 3).item())
    assert norms[1] < 0.5 * norms[0]


def test_the_original_recipe_releases_the_blocks_in_time(clips, temporal, params, tmp_path):
    norms = []
    for blocked_epochs in (4, 12):  # of 12
        changes = {"cross_modality": "blocked", "blocked_epochs": blocked_epochs}
        fusion = params.train_fusion.moddrop.model_copy(update=changes)
        train_fusion("moddrop", clips, folders(temporal), fusion, SEED, tmp_path / str(blocked_epochs))
        tensors, _ = read_model(tmp_path / str(blocked_epochs) / "model.safetensors")
        weight = torch.from_numpy(tensors["model.first.weight"])
        norms.append(cross_modality_penalty(weight, [fusion.hidden] * 3, [10] * 3).item())
    assert norms[0] > 0
    assert norms[1] == 0


@pytest.mark.parametrize("method", METHODS)
def test_what_was_found_on_val_is_used_for_models_that_have_learnt_val(method, clips, temporal, params, tmp_path):
    fusion = getattr(params.train_fusion, method)
    before = fuse(method, clips, temporal, params, tmp_path / "before")
    train_fusion(method, clips, folders(temporal), fusion, SEED, tmp_path / "after", before=before)
    after = bytes_of(tmp_path / "after")
    if method in ("moddrop", "score_tree"):
        epochs = after["history.csv"].decode().splitlines()[1:]
        assert len(epochs) == found_on_val(before / "history.csv")
        assert all(",nan," in line for line in epochs)
    else:  # the same weights (as csv has them) or machine on the same scores
        one, two = (read_scores(folder / "scores.h5").scores for folder in (before, tmp_path / "after"))
        np.testing.assert_allclose(two, one, atol=1e-5)
    nonsense = [replace(c, label="disgust") if c.split in ("test", "val") else c for c in clips]
    if method in ("weighted_mean", "svm"):
        train_fusion(method, nonsense, folders(temporal), fusion, SEED, tmp_path / "blind", before=before)
        assert bytes_of(tmp_path / "blind")["scores.h5"] == after["scores.h5"]


def test_an_ensemble_of_members_trained_on_train_and_val(clips, temporal, params, tmp_path):
    """The refitted members know val by heart; the weights are those found with the others."""
    members = MODELS[:2]
    for member in members:
        for folder in (tmp_path / member, tmp_path / member / REFIT):
            write_scores(seed_folder(folder, SEED) / "scores.h5", read_scores(temporal / member / "scores.h5"))
    ensemble = EnsembleParams(members=members, fusion="weighted_mean", trained_on="train_val")
    fuse_ensemble(clips, tmp_path, ensemble, params.train_fusion.weighted_mean, [SEED], tmp_path / "out")
    weights = [(f / "weights.csv").read_text() for f in (tmp_path / "out/seed_1", tmp_path / "out/train/seed_1")]
    assert weights[0] == weights[1]
    assert [line.split(",")[0] for line in weights[0].splitlines()[1:]] == list(members)
