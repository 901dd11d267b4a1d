"""Table, plot and parameters of a search, and the choice of unlike models."""

from dataclasses import replace

import numpy as np
import pytest
import yaml
from optuna.trial import TrialState, create_trial

from emotion_pipeline.data.scores import ScoreTable, seed_folder, write_scores
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import load_params
from emotion_pipeline.search.complementary import choose_complementary, dissimilarity, write_complementary
from emotion_pipeline.search.output import ranked, write_params, write_search
from emotion_pipeline.search.study import open_study, trial_folder
from tests.conftest import REPOSITORY
from tests.search.conftest import other

PARAMS = REPOSITORY / "params.yaml"


def trials_of(search, values, losses) -> list:
    """Finished trials of the first points, without a training."""
    return [
        create_trial(value=value, user_attrs={"point": point, "val_nll": nll})
        for point, (value, nll) in enumerate(zip(values, losses, strict=True))
    ]


def test_best_yaml_is_params_yaml_but_for_the_best_values(search, tmp_path):
    trials = trials_of(search, (0.5, 0.7, 0.7), (1.0, 1.2, 1.1))
    best = write_search(tmp_path, search, trials, PARAMS)
    assert best == ranked(trials)[0] == trials[2]
    values = search.point(best.user_attrs["point"])
    before, after = (file.read_text().splitlines() for file in (PARAMS, tmp_path / "best.yaml"))
    assert len(before) == len(after)
    changed = {a for a, b in zip(before, after, strict=True) if a != b}
    assert len(changed) <= 2  # dropout and learning_rate
    model = load_params(tmp_path / "best.yaml").train_temporal["audio_mlp"]
    assert (model.dropout, model.learning_rate) == (values["dropout"], values["learning_rate"])
    assert b"<dc:date>" not in (tmp_path / "trials.svg").read_bytes()
    whole = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert set(whole) == set(yaml.safe_load(PARAMS.read_text()))


def test_lists_are_values_of_a_grid_too(search, tmp_path):
    svm = other(search, {"c": ((0.001,), (0.01, 1.0))}, "train_temporal.audio_svm")
    trials = trials_of(svm, (0.5, 0.7), (1.0, 1.0))
    assert sorted(svm.point(place)["c"] for place in (0, 1)) == [(0.001,), (0.01, 1.0)]
    best = write_search(tmp_path, svm, trials, PARAMS)
    assert load_params(tmp_path / "best.yaml").train_temporal["audio_svm"].c == svm.point(best.user_attrs["point"])["c"]
    (line,) = [line for line in (tmp_path / "best.yaml").read_text().splitlines() if line.startswith("  audio_svm: ")]
    assert line.endswith(f", c: {list(svm.point(best.user_attrs['point'])['c'])}}}")


def test_an_entry_that_takes_over_from_a_changed_one_keeps_its_values(tmp_path):
    text = """\
fusion:
  first: &first
    hidden: 32  # units
    dropout: 0.1
  second: {<<: *first, models: [a]}
  third:
    <<: *first
    hidden: 8
"""
    (tmp_path / "params.yaml").write_text(text)
    write_params(tmp_path / "best.yaml", {"fusion.first": {"hidden": 64}}, tmp_path / "params.yaml")
    after = (tmp_path / "best.yaml").read_text()
    assert after == text.replace("32  #", "64  #").replace("[a]}", "[a], hidden: 32}")
    write_params(tmp_path / "best.yaml", {"fusion.second": {"hidden": 64}}, tmp_path / "params.yaml")
    assert (tmp_path / "best.yaml").read_text() == text.replace("[a]}", "[a], hidden: 64}")


def test_no_best_of_another_study_is_left_where_all_trials_failed(search, tmp_path):
    failed = create_trial(
        state=TrialState.FAIL, user_attrs={"point": 0, "reason": "too hot"}, params={}, distributions={}
    )
    for name in ("best.yaml", "trials.svg"):
        (tmp_path / name).write_text("of before")
    with pytest.raises(UserError, match="none of 1 trials ended well"):
        write_search(tmp_path, search, [failed], PARAMS)
    assert [path.name for path in tmp_path.glob("*.*")] == ["trials.csv"]


def test_dissimilarity_by_hand():
    right, one = np.eye(7), np.zeros((7, 7))
    one[:, 0] = 1  # always angry
    assert dissimilarity([right, right]) == 0
    assert dissimilarity([right, np.roll(right, 1, axis=1)]) == pytest.approx(1)
    assert dissimilarity([right, one]) == pytest.approx(np.sqrt(6 / 7))  # six of seven rows differ
    assert dissimilarity([right, right, one]) == pytest.approx(2 / 3 * np.sqrt(6 / 7))


def test_the_trial_is_chosen_that_errs_unlike_the_present_models(search, tmp_path, caplog):
    """Of four trials, one answers always happy; the present model and the other trials are right."""
    with pytest.raises(UserError, match=r"no trial of train_temporal\.audio_mlp has ended well; run `search train_"):
        choose_complementary([search], [], among=4)
    own = replace(search, data=tmp_path / "data")
    own.data.mkdir()
    for stage in ("ingest", "extract_audio"):
        (own.data / stage).symlink_to(search.data / stage)
    clips = sorted(search.clips(), key=lambda clip: clip.clip_id)
    right = np.eye(7, dtype=np.float32)[[EMOTIONS.index(clip.label or "happy") for clip in clips]]
    happy = np.tile(np.eye(7, dtype=np.float32)[EMOTIONS.index("happy")], (len(clips), 1))
    folder = own.folder()
    models = {trial_folder(folder, point): happy if point == 2 else right for point in range(4)}
    for model, scores in (models | {own.data / "train_temporal" / "audio_mlp": right}).items():
        table = ScoreTable(tuple(clip.clip_id for clip in clips), scores, np.ones(len(clips), bool))
        write_scores(seed_folder(model, own.seed) / "scores.h5", table)
    study = open_study(folder)
    for trial in trials_of(own, (0.9, 0.8, 0.7, 0.6), (1.0, 1.0, 1.0, 1.0)):
        study.add_trial(trial)
    file = tmp_path / "search" / "complementary.yaml"
    caplog.set_level("INFO")
    (odd,) = write_complementary(file, [own], ["audio_mlp"], 4, PARAMS)
    assert odd.user_attrs["point"] == 2
    assert "mean dissimilarity 0.926; of the best trials alone 0.000" in caplog.text
    written = load_params(file).train_temporal
    assert written["audio_mlp_b"].dropout == own.point(2)["dropout"]
    assert written["audio_mlp"] == load_params(PARAMS).train_temporal["audio_mlp"]
    (near,) = choose_complementary([own], ["audio_mlp"], among=1)
    assert near.user_attrs["point"] == 0
    with pytest.raises(UserError, match=r"--present: nobody is not among vgg_maximum, "):
        choose_complementary([own], ["nobody"], among=1)
