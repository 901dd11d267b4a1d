from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from emotion_pipeline.data.manifest import Clip
from emotion_pipeline.data.models import read_model
from emotion_pipeline.data.scores import REFIT, ScoreTable, read_scores, rows_of, seed_folder, write_scores
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.fusion.fit import FITTERS
from emotion_pipeline.fusion.model import FUSERS, fused_scores
from emotion_pipeline.fusion.networks import cross_modality_penalty
from emotion_pipeline.fusion.scores import RULES
from emotion_pipeline.fusion.train import fuse as train_fusion
from emotion_pipeline.fusion.train import read_inputs
from emotion_pipeline.metrics import predicted_labels
from emotion_pipeline.params import FusionParams, Params, RuleParams
from emotion_pipeline.training.loop import chosen_on_val
from emotion_pipeline.training.model import read_trained

ENTRIES = {
    **{name: name for name in ("majority", "mean", "max", "svm", "weighted_mean")},
    "moddrop": "submission_3",
    "score_tree": "submission_4",
}
"""By method, the entry of params.yaml whose parameters are taken."""

METHODS = tuple(ENTRIES)
FITTED = ("svm", "weighted_mean", "moddrop", "score_tree")
NETWORKS = ("moddrop", "score_tree")
NOTHING = "test_sad_0"
MODELS = ("vgg_lstm", "c3d_lstm", "audio_mlp")
SEED = 1


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [
        Clip(f"{split}_{emotion}_{take}", "", split, emotion, "")
        for split, takes in (("train", 6), ("val", 3), ("test", 6))
        for emotion in EMOTIONS
        for take in range(takes)
    ]


@pytest.fixture(scope="module")
def fusions(params: Params) -> dict[str, FusionParams]:
    """Those of the sample with three models and short, quick trainings."""
    quick = {"epochs": 12, "patience": 12, "batch_clips": 24, "learning_rate": 0.02, "dropout": 0.2}
    return {
        method: params.fusion[entry].model_copy(
            update={"models": MODELS, **(quick if method in NETWORKS else {"folds": 3} if method in FITTED else {})}
        )
        for method, entry in ENTRIES.items()
    }


@pytest.fixture(scope="module")
def temporal(clips, tmp_path_factory) -> Path:
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
        for place in (folder / model, folder / model / REFIT):
            write_scores(seed_folder(place, SEED) / "scores.h5", table)
    return folder


@pytest.fixture
def anew(monkeypatch, tmp_path):
    """What makes the next fusion with another store, so that it is fitted once more."""
    return lambda name: monkeypatch.setenv("EMOTION_PIPELINE_STORE", str(tmp_path / f"store_{name}"))


def fuse(method, clips, temporal, fusions, out, **changes) -> Path:
    """Fuse with one seed; the folder of its scores, with the model beside them in `models`."""
    params = fusions[method].model_copy(update=changes)
    train_fusion(method, clips, temporal, params, [SEED], out, out / "models")
    return out / "seed_1"


def model_file(folder: Path) -> Path:
    return folder.parent / "models" / f"{folder.name}.safetensors"


def accuracy(table: ScoreTable, clips) -> float:
    test = [c for c in clips if c.split == "test"]
    rows, truth = rows_of(table, [c.clip_id for c in test]), np.array([EMOTIONS.index(c.label) for c in test])
    return float((truth == predicted_labels(table.scores[rows], table.present[rows])).mean())


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Of all files that one fusion leaves."""
    return {path.name: path.read_bytes() for path in (*sorted(folder.iterdir()), model_file(folder))}


def test_every_fusion_is_fitted_and_scores(fusions):
    assert {type(fusion) for fusion in fusions.values()} == set(FITTERS) == set(FUSERS)
    assert set(RuleParams.model_fields["method"].annotation.__args__) == set(RULES)
    assert all(fusion.method == method for method, fusion in fusions.items())


@pytest.mark.parametrize("method", METHODS)
def test_scores_of_all_clips(method, clips, temporal, fusions, tmp_path):
    table = read_scores(fuse(method, clips, temporal, fusions, tmp_path) / "scores.h5")
    assert table.clip_ids == tuple(sorted(c.clip_id for c in clips))
    assert [i for i, p in zip(table.clip_ids, table.present, strict=True) if not p] == [NOTHING]
    np.testing.assert_array_equal(np.isnan(table.scores).all(axis=1), ~table.present)
    np.testing.assert_allclose(table.scores[table.present].sum(axis=1), 1, rtol=1e-5)
    single = read_scores(seed_folder(temporal / MODELS[0], SEED) / "scores.h5")
    assert accuracy(table, clips) > accuracy(single, clips)


@pytest.mark.parametrize("method", METHODS)
def test_twice_the_same_bytes_and_test_labels_change_nothing(method, clips, temporal, fusions, tmp_path, anew):
    first = fuse(method, clips, temporal, fusions, tmp_path / "first")
    nonsense = [replace(c, label="disgust") if c.split == "test" else c for c in reversed(clips)]
    anew("second")
    second = fuse(method, nonsense, temporal, fusions, tmp_path / "second")
    assert bytes_of(first) == bytes_of(second)
    beside = {"weighted_mean": {"weights.csv"}} | {name: {"history.csv"} for name in ("svm", *NETWORKS)}
    assert set(bytes_of(first)) == {"scores.h5", "seed_1.safetensors"} | beside.get(method, set())


@pytest.mark.parametrize("method", METHODS)
def test_an_absent_model_is_never_read(method, clips, temporal, fusions, tmp_path, anew):
    """Numbers instead of NaN in the rows of absent models change no byte."""
    first = fuse(method, clips, temporal, fusions, tmp_path / "first")
    for model in MODELS:
        source, target = (seed_folder(f / model, SEED) / "scores.h5" for f in (temporal, tmp_path / "filled"))
        target.parent.mkdir(parents=True)
        target.write_bytes(source.read_bytes())
        with h5py.File(target, "r+") as file:
            for name in ("scores", "descriptor"):
                file[name][...] = np.nan_to_num(file[name][()], nan=17.0)
    anew("second")
    second = fuse(method, clips, tmp_path / "filled", fusions, tmp_path / "second")
    assert bytes_of(first) == bytes_of(second)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_file_gives_every_clip_its_scores_alone(method, clips, temporal, fusions, tmp_path):
    folder = fuse(method, clips, temporal, fusions, tmp_path)
    model, table = read_trained(model_file(folder)), read_scores(folder / "scores.h5")
    read = read_inputs({m: seed_folder(temporal / m, SEED) for m in MODELS}, [c.clip_id for c in clips])
    for row in (0, 40, 100):
        alone = fused_scores(model, read.take(np.array([row])), torch.device("cpu"))
        np.testing.assert_array_equal(alone.astype(np.float32), table.scores[[row]])


def test_a_clip_that_is_no_training_clip_fits_nothing(clips, temporal, fusions, tmp_path, caplog):
    caplog.set_level("INFO")
    fuse("moddrop", clips, temporal, fusions, tmp_path)
    (before,) = (tmp_path / "models").iterdir()
    before = before.read_bytes()
    for model in MODELS:
        table = read_scores(seed_folder(temporal / model, SEED) / "scores.h5")
        ids, row = (*table.clip_ids, "zz_added"), [*range(len(table.clip_ids)), 0]
        more = ScoreTable(ids, table.scores[row], table.present[row], table.descriptor[row])
        write_scores(seed_folder(tmp_path / "more" / model, SEED) / "scores.h5", more)
    caplog.clear()
    added = [*clips, replace(clips[0], clip_id="zz_added", split="", label="")]
    folder = fuse("moddrop", added, tmp_path / "more", fusions, tmp_path)
    assert not [record for record in caplog.records if "best epoch" in record.message]
    assert model_file(folder).read_bytes() == before
    assert read_scores(folder / "scores.h5").clip_ids[-1] == "zz_added"


def test_weights_file(clips, temporal, fusions, tmp_path):
    lines = (fuse("weighted_mean", clips, temporal, fusions, tmp_path) / "weights.csv").read_text().splitlines()
    assert lines[0] == "model,weight"
    names, weights = zip(*(line.split(",") for line in lines[1:]), strict=True)
    assert names == MODELS
    assert sum(map(float, weights)) == pytest.approx(1, abs=1e-4)


def test_descriptors_are_standardised_on_train(clips, temporal, fusions, tmp_path):
    tensors, description = read_model(model_file(fuse("moddrop", clips, temporal, fusions, tmp_path)))
    assert description["params"]["hidden"] == fusions["moddrop"].hidden
    table = read_scores(seed_folder(temporal / "audio_mlp", SEED) / "scores.h5")
    rows = [i for i, c in enumerate(table.clip_ids) if c.startswith("train") and table.present[i]]
    np.testing.assert_allclose(tensors["standardise.audio_mlp.mean"], table.descriptor[rows].mean(0), atol=1e-5)


def test_missing_model_says_what_to_run(clips, temporal, fusions, tmp_path):
    with pytest.raises(
        UserError, match=r"fusion\.mean: .*vgg_lstm/seed_1/scores\.h5: .*dvc repro train_temporal@vgg_lstm"
    ):
        fuse("mean", clips, tmp_path / "train_temporal", fusions, tmp_path / "out")


def test_other_clips_than_the_manifest(clips, temporal, fusions, tmp_path):
    with pytest.raises(UserError, match=r"not the clips of the manifest; run `dvc repro train_temporal@"):
        fuse("mean", clips[1:], temporal, fusions, tmp_path)


def test_too_few_val_clips_for_the_folds(clips, temporal, fusions, tmp_path):
    few = [c if c.split != "val" or c.clip_id == "val_fear_0" else replace(c, label="") for c in clips]
    with pytest.raises(UserError, match=r"fusion\.weighted_mean: folds: 3, but no class of val has so many clips"):
        fuse("weighted_mean", few, temporal, fusions, tmp_path)


def cross_norm(folder: Path, hidden: int) -> float:
    tensors, _ = read_model(model_file(folder))
    return cross_modality_penalty(torch.from_numpy(tensors["model.first.weight"]), [hidden] * 3, [10] * 3).item()


def test_gamma_shrinks_the_blocks_between_modalities(clips, temporal, fusions, tmp_path):
    norms = [
        cross_norm(
            fuse("moddrop", clips, temporal, fusions, tmp_path / str(first), gamma_first=first, gamma_factor=1.0),
            fusions["moddrop"].hidden,
        )
        for first in (0.0, 2.0)
    ]
    assert norms[1] < 0.5 * norms[0]


def test_the_original_recipe_releases_the_blocks_in_time(clips, temporal, fusions, tmp_path):
    changes = {"cross_modality": "blocked"}
    norms = [
        cross_norm(
            fuse("moddrop", clips, temporal, fusions, tmp_path / str(n), **changes, blocked_epochs=n),
            fusions["moddrop"].hidden,
        )
        for n in (4, 12)  # of 12
    ]
    assert norms[0] > 0
    assert norms[1] == 0


@pytest.mark.parametrize("method", METHODS)
def test_what_was_found_on_val_is_used_for_models_that_have_learnt_val(method, clips, temporal, fusions, tmp_path):
    """The refitted members know val by heart; the weights, machine or epochs are those found with the others."""
    after = fuse(method, clips, temporal, fusions, tmp_path, trained_on="train_val")
    places = (tmp_path / "models/train/seed_1.safetensors", tmp_path / "models/seed_1.safetensors")
    first, second = map(read_trained, places)
    if method in NETWORKS:
        header, *epochs = second.history
        assert len(epochs) == chosen_on_val(first.history)
        assert all(np.isnan(row[header.index("val_loss")]) for row in epochs)
    else:
        assert {k: v.tolist() for k, v in first.tensors.items()} == {k: v.tolist() for k, v in second.tensors.items()}
        one, two = (read_scores(folder / "scores.h5").scores for folder in (tmp_path / "train/seed_1", after))
        np.testing.assert_array_equal(two, one)
    if method == "weighted_mean":
        assert (after / "weights.csv").read_text() == (tmp_path / "train/seed_1/weights.csv").read_text()
        assert [line.split(",")[0] for line in (after / "weights.csv").read_text().splitlines()[1:]] == list(MODELS)
