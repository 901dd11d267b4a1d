"""Trials by real processes, killed and gone on with."""

import csv
import subprocess
import sys

import numpy as np
import pytest
import yaml
from optuna.trial import TrialState

from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.params import load_params
from emotion_pipeline.scorefile import ScoreTable, read_scores, seed_folder, write_scores
from emotion_pipeline.search.complementary import choose_complementary, dissimilarity
from emotion_pipeline.search.output import ranked, write_search
from emotion_pipeline.search.study import judged, open_study, run_search, trial_folder
from tests.conftest import REPOSITORY
from tests.search.conftest import TARGET

KILLED = """
import os, pickle, signal, sys
from emotion_pipeline.search.grid import Points
from emotion_pipeline.search.study import _claim, open_study
folder, search = pickle.loads(bytes.fromhex(sys.argv[1]))
trial = _claim(open_study(folder), folder, Points(search.grid, search.params.search.seed), search.grid, 6)
print(trial.user_attrs["point"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def points_of(trials) -> list[int]:
    return [trial.user_attrs["point"] for trial in trials]


def test_two_workers_share_the_grid_without_a_duplicate_and_the_search_goes_on(search):
    first = run_search(search, 4, 2)
    assert points_of(first) == [0, 1, 2, 3]
    folder = search.folder()
    made = {p: p.stat().st_mtime_ns for p in (folder / "trials").rglob("scores.h5")}
    assert len(made) == 4
    second = run_search(search, 99, 2)  # the grid has 6
    assert points_of(second) == [0, 1, 2, 3, 4, 5]
    assert len({tuple(sorted(trial.params.items())) for trial in second}) == 6
    assert len(open_study(folder).get_trials()) == 6
    assert all(path.stat().st_mtime_ns == time for path, time in made.items())
    for trial in second:
        scores = seed_folder(trial_folder(folder, trial.user_attrs["point"]), search.seed)
        assert judged(search, scores) == (trial.value, trial.user_attrs["val_loss"])


def test_the_point_of_a_killed_worker_is_tried_again_and_no_finished_one(search):
    import pickle

    run_search(search, 2, 1)
    folder = search.folder()
    argument = pickle.dumps((folder, search)).hex()
    killed = subprocess.run([sys.executable, "-c", KILLED, argument], capture_output=True, text=True, check=False)
    assert (killed.stdout, killed.returncode) == ("2\n", -9), killed.stderr
    assert [t.state for t in open_study(folder).get_trials()][-1] == TrialState.RUNNING
    done = run_search(search, 4, 1)
    assert points_of(done) == [0, 1, 2, 3]
    everyone = [trial.user_attrs["point"] for trial in open_study(folder).get_trials()]
    assert sorted(everyone) == [0, 1, 2, 2, 3]


def test_a_trial_that_fails_is_listed_with_its_reason_and_the_search_goes_on(search, tmp_path):
    hot = search.params.search.model_copy(
        update={"train_temporal": {"audio_mlp": {"fit.learning_rate": (0.01, 1e30), "dropout": (0.0,)}}}
    )
    search = type(search)(TARGET, search.params.model_copy(update={"search": hot}), search.data)
    trials = run_search(search, 2, 1)
    best = write_search(tmp_path, TARGET, search.grid, trials, REPOSITORY / "params.yaml")
    assert best.params["fit.learning_rate"] == 0.01
    rows = {row["fit.learning_rate"]: row for row in csv.DictReader((tmp_path / "trials.csv").read_text().splitlines())}
    assert "lower learning_rate" in rows["1e+30"]["reason"]
    assert rows["1e+30"]["val_accuracy"] == ""
    assert rows["0.01"]["reason"] == ""


def test_other_data_or_other_fixed_parameters_are_another_study(search, small, data, tmp_path):
    assert search.folder() == type(search)(TARGET, small, data).folder()
    mlp = small.train_temporal["audio_mlp"].model_copy(update={"descriptor": 6})
    other = small.model_copy(update={"train_temporal": {**small.train_temporal, "audio_mlp": mlp}})
    assert search.folder() != type(search)(TARGET, other, data).folder()
    varied = small.train_temporal["audio_mlp"].model_copy(update={"dropout": 0.45})  # dropout is searched
    same = small.model_copy(update={"train_temporal": {**small.train_temporal, "audio_mlp": varied}})
    assert search.folder() == type(search)(TARGET, same, data).folder()


def test_best_yaml_is_params_yaml_but_for_the_best_values(search, tmp_path):
    trials = run_search(search, 3, 1)
    best = write_search(tmp_path, TARGET, search.grid, trials, REPOSITORY / "params.yaml")
    assert best == ranked(trials)[0]
    assert best.value == max(trial.value for trial in trials)
    before, after = ((f).read_text().splitlines() for f in (REPOSITORY / "params.yaml", tmp_path / "best.yaml"))
    assert len(before) == len(after)
    changed = {a for a, b in zip(before, after, strict=True) if a != b}
    assert len(changed) <= 2  # dropout, and the line of `fit`
    model = load_params(tmp_path / "best.yaml").train_temporal["audio_mlp"]
    assert (model.dropout, model.fit.learning_rate) == (best.params["dropout"], best.params["fit.learning_rate"])
    assert b"<dc:date>" not in (tmp_path / "trials.svg").read_bytes()
    whole = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert set(whole) == set(yaml.safe_load((REPOSITORY / "params.yaml").read_text()))


def test_dissimilarity_by_hand():
    right, one = np.eye(7), np.zeros((7, 7))
    one[:, 0] = 1  # always angry
    assert dissimilarity([right, right]) == 0
    assert dissimilarity([right, np.roll(right, 1, axis=1)]) == pytest.approx(1)
    assert dissimilarity([right, one]) == pytest.approx(np.sqrt(6 / 7))  # six of seven rows differ
    assert dissimilarity([right, right, one]) == pytest.approx(2 / 3 * np.sqrt(6 / 7))


def test_the_trial_is_chosen_that_errs_unlike_the_present_models(search, data):
    """Of four trials, one is made to answer always happy; the present model and the other trials are nearly right."""
    trials = run_search(search, 4, 1)
    odd = points_of(trials)[2]
    file = seed_folder(trial_folder(search.folder(), odd), search.seed) / "scores.h5"
    table = read_scores(file)
    happy = np.tile(np.eye(7, dtype=np.float32)[EMOTIONS.index("happy")], (len(table.clip_ids), 1))
    file.unlink()
    write_scores(file, ScoreTable(table.clip_ids, happy, table.present))
    present = seed_folder(data / "train_temporal" / "audio_mlp", search.seed) / "scores.h5"
    if not present.exists():
        source = seed_folder(trial_folder(search.folder(), points_of(ranked(trials))[0]), search.seed) / "scores.h5"
        write_scores(present, read_scores(source))
    chosen = choose_complementary([search], ["audio_mlp"], among=4)
    assert chosen.trials[TARGET].user_attrs["point"] == odd
    assert chosen.dissimilarity > chosen.best_alone
    near = choose_complementary([search], ["audio_mlp"], among=1)
    assert near.trials[TARGET] == ranked(trials)[0]
