"""Trials by real processes, killed and gone on with."""

import csv
import os
import pickle
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from optuna.trial import TrialState, create_trial

from emotion_pipeline.data.artifact import Artifact, write_artifact
from emotion_pipeline.data.manifest import write_manifest
from emotion_pipeline.data.scores import ScoreTable, read_scores, seed_folder, write_scores
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import load_params
from emotion_pipeline.run.disk import store_folder
from emotion_pipeline.run.prune import prune
from emotion_pipeline.search import study
from emotion_pipeline.search.complementary import choose_complementary, dissimilarity
from emotion_pipeline.search.output import ranked, write_search
from emotion_pipeline.search.study import finished_trials, open_study, run_search
from emotion_pipeline.search.trial import Search, judged, trial_folder
from tests.conftest import REPOSITORY
from tests.search.conftest import TARGET, with_grid

KILLED = """
import os, pickle, signal, sys
from emotion_pipeline.search.study import _claim, open_study
folder, search = pickle.loads(bytes.fromhex(sys.argv[1]))
trial = _claim(open_study(folder), folder, search, 6)
print(trial.user_attrs["point"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


DYING = """
import os, pickle, sys
from emotion_pipeline.search import study

folder, search, number, where = pickle.loads(bytes.fromhex(sys.argv[1]))

study.run_trial, study.judged = lambda *_: None, lambda *_: (0.5, 1.0)
holder, name = (study, "run_trial") if where == "trial" else (study.log, "info")
setattr(holder, name, lambda *_: os.kill(os.getpid(), number))
study._work(search, folder, 1)
"""


def dies(search, number: int, where: str = "trial") -> int:
    """A worker for one point gets a signal in the midst of its trial, or after it; returns its exit status."""
    argument = pickle.dumps((search.folder(), search, number, where)).hex()
    return subprocess.run([sys.executable, "-c", DYING, argument], capture_output=True, check=False).returncode


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


def test_a_point_over_which_workers_die_is_given_up_and_the_search_goes_on(search):
    folder = search.folder()
    folder.mkdir(parents=True)
    assert dies(search, signal.SIGTERM) == 130  # ended in order: does not count
    assert [dies(search, signal.SIGKILL) for _ in range(3)] == [-9, -9, -9]
    first, second = run_search(search, 2, 1)
    assert (first.state, first.user_attrs["reason"]) == (TrialState.FAIL, "3 workers died over it (out of memory?)")
    assert (second.state, second.user_attrs["point"]) == (TrialState.COMPLETE, 1)


def test_an_interrupt_after_a_trial_leaves_it_finished(search):
    search.folder().mkdir(parents=True)
    assert dies(search, signal.SIGTERM, "after") == 130
    assert [t.value for t in finished_trials(open_study(search.folder()))] == [0.5]


def test_a_killed_process_is_gone_also_before_its_parent_has_asked_for_it():
    process = subprocess.Popen(["sleep", "99"])
    worker = study._identity(process.pid)
    assert study._alive(worker)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is a zombie
    assert not study._alive(worker)
    process.wait()


def test_memory_that_is_lacking_fails_the_trial_and_not_the_worker(search, monkeypatch):
    def too_large(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nand so on")

    monkeypatch.setattr(study, "run_trial", too_large)
    folder = search.folder()
    folder.mkdir(parents=True)
    trial = study._claim(open_study(folder), folder, search, 1)
    study._try(search, open_study(folder), trial, trial_folder(folder, 0))
    (failed,) = finished_trials(open_study(folder))
    assert failed.user_attrs["reason"] == "CUDA out of memory. Tried to allocate 9 GiB"


def test_a_trial_keeps_scores_and_no_network_and_prune_keeps_the_search(search, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_search(search, 1, 1)
    folder, everything = search.folder(), sorted(p for p in store_folder().rglob("*") if p.is_file())
    trial = seed_folder(trial_folder(folder, 0), search.seed)
    names = [folder / "lock", folder / "study.sqlite", trial / "history.csv", trial / "scores.h5"]
    assert everything == sorted(names)  # nothing that a stage would take over
    left = store_folder() / "clips" / "aa" / ".left_by_a_killed_run"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"left")
    assert prune(shared=True) == (1, 4)
    assert all(file.is_file() for file in names)


def test_the_number_of_workers_changes_no_byte(search, tmp_path, monkeypatch):
    """Features as wide as openSMILE's: a product of matrices in two threads has other last bits."""
    wide, rng = tmp_path / "wide", np.random.default_rng(1)
    (wide / "ingest").mkdir(parents=True)
    write_manifest(wide / "ingest" / "clips.csv", search.clips())
    for clip in search.clips():
        features = rng.standard_normal((1, 1582)).astype(np.float32)
        write_artifact(wide / "extract_audio" / f"{clip.clip_id}.h5", clip.clip_id, Artifact({"features": features}))
    one = with_grid(search.params, {"descriptor": (279, 300)})
    made = []
    for workers in (1, 2):
        monkeypatch.setenv("EMOTION_PIPELINE_STORE", str(tmp_path / f"store_{workers}"))
        same = type(search)(TARGET, one, wide)
        run_search(same, 2, workers)
        folders = [seed_folder(trial_folder(same.folder(), point), search.seed) for point in (0, 1)]
        made.append([(folder / "scores.h5").read_bytes() for folder in folders])
    assert made[0] == made[1]


def test_a_trial_that_fails_is_listed_with_its_reason_and_the_search_goes_on(search, tmp_path):
    hot = search.params.search.model_copy(
        update={"train_temporal": {"audio_mlp": {"fit.learning_rate": (0.01, 1e30), "dropout": (0.0,)}}}
    )
    search = type(search)(TARGET, search.params.model_copy(update={"search": hot}), search.data)
    trials = run_search(search, 2, 1)
    best = write_search(tmp_path, search, trials, REPOSITORY / "params.yaml")
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
    both = type(search)(TARGET, with_grid(small, {"features": ("extract_audio", "extract_other")}), data)
    other_features = data / "extract_other" / "a.h5"
    with pytest.raises(
        UserError, match=r"data.*/extract_other: not there, but train_temporal\.audio_mlp is made from it"
    ):
        both.folder()
    try:
        other_features.parent.mkdir()
        folders = [other_features.write_bytes(content) and both.folder() for content in (b"one", b"two")]
    finally:
        shutil.rmtree(other_features.parent)
    assert folders[0] != folders[1]


def test_best_yaml_is_params_yaml_but_for_the_best_values(search, tmp_path):
    trials = run_search(search, 3, 1)
    best = write_search(tmp_path, search, trials, REPOSITORY / "params.yaml")
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


def test_lists_are_values_of_a_grid_too(small, data, tmp_path):
    target = "train_temporal.audio_svm"
    search = Search(target, with_grid(small, {"c": ((0.001,), (0.01, 1.0))}, target), data)
    trials = run_search(search, 2, 1)
    assert sorted(search.values(trial)["c"] for trial in trials) == [(0.001,), (0.01, 1.0)]
    best = write_search(tmp_path, search, trials, REPOSITORY / "params.yaml")
    assert load_params(tmp_path / "best.yaml").train_temporal["audio_svm"].c == search.values(best)["c"]
    changed = [line for line in (tmp_path / "best.yaml").read_text().splitlines() if line.startswith("    c: [")]
    assert changed[0] == f"    c: {list(search.values(best)['c'])}"


def test_a_grid_over_models_depends_on_the_scores_of_all_of_them(small, data):
    target = "train_fusion.mean"
    search = Search(target, with_grid(small, {"models": (("vgg_lstm",), ("audio_mlp", "c3d_lstm"))}, target), data)
    assert {path.parts[-3] for path in search.inputs()} >= {"vgg_lstm", "audio_mlp", "c3d_lstm"}


def test_no_best_of_another_study_is_left_where_all_trials_failed(search, tmp_path):
    failed = create_trial(
        state=TrialState.FAIL, user_attrs={"point": 0, "reason": "too hot"}, params={}, distributions={}
    )
    for name in ("best.yaml", "trials.svg"):
        (tmp_path / name).write_text("of before")
    with pytest.raises(UserError, match="none of 1 trials ended well"):
        write_search(tmp_path, search, [failed], REPOSITORY / "params.yaml")
    assert [path.name for path in tmp_path.glob("*.*")] == ["trials.csv"]


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
