"""Trials by real processes, killed and gone on with."""

import csv
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import yaml

from emotion_pipeline.data.artifact import Artifact, write_artifact
from emotion_pipeline.data.manifest import write_manifest
from emotion_pipeline.data.scores import seed_folder
from emotion_pipeline.errors import UserError
from emotion_pipeline.run.disk import locked, store_folder
from emotion_pipeline.run.store import prune
from emotion_pipeline.search.output import write_search
from emotion_pipeline.search.study import judged, open_study, run_search, trial_folder
from tests.conftest import REPOSITORY
from tests.search.conftest import GRID, TARGET, other

pytestmark = pytest.mark.slow


def wait_for_the_end_of(group: int) -> None:
    """Raises ProcessLookupError as soon as nobody is left."""
    for _ in range(100):
        os.killpg(group, 0)
        time.sleep(0.1)


def points_of(trials) -> list[int]:
    return [trial.user_attrs["point"] for trial in trials]


def tried(search) -> list[int]:
    """The points that `note` has noted, in order."""
    file = search.folder() / "tried"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def note(search, out) -> tuple[int, int]:
    """In place of a trial: note its point; return it, and how often it was tried."""
    point = int(out.name)
    with open(search.folder() / "tried", "a") as file:
        file.write(f"{point}\n")
    return point, tried(search).count(point)


def fails_now_and_then(search, values, out):
    point, _ = note(search, out)
    time.sleep(0.01)
    if point % 3 == 0:
        raise UserError("too hot")
    return 0.5, 1.0


def dies_once(search, values, out):
    if note(search, out) == (2, 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return 0.5, 1.0


def dies(search, values, out):
    if note(search, out)[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0.5, 1.0


def too_large(search, values, out):
    if note(search, out)[0] == 0:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nand so on")
    return 0.5, 1.0


def right(search, values, out):
    note(search, out)
    return 0.5, 1.0


def test_two_workers_search_a_whole_grid_and_keep_scores_but_no_network(search, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trials = run_search(search, 99, 2)  # the grid has 6
    assert points_of(trials) == [0, 1, 2, 3, 4, 5]
    assert len({tuple(sorted(trial.params.items())) for trial in trials}) == 6
    folder, kept = search.folder(), [p for p in store_folder().rglob("*") if p.is_file()]
    assert len(open_study(folder).get_trials()) == 6
    names = [folder / "lock", folder / "study.sqlite"]
    for trial in trials:
        out = trial_folder(folder, trial.user_attrs["point"])
        scores = seed_folder(out, search.seed)
        assert judged(search, scores) == (trial.value, trial.user_attrs["val_nll"])
        names += [out.with_suffix(".lock"), out / "failures.csv", scores / "history.csv", scores / "scores.h5"]
    assert sorted(kept) == sorted(names)  # nothing that a stage would take over
    left = store_folder() / "results" / "aa" / ".left_by_a_killed_run"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"left")
    assert prune(shared=True) == (1, 4)
    assert all(file.is_file() for file in names)


def test_many_workers_try_no_point_twice_and_a_search_goes_on(search):
    wide = other(search, {"batch_clips": tuple(range(2, 42))})
    assert points_of(run_search(wide, 15, 3, fails_now_and_then)) == list(range(15))
    assert points_of(run_search(wide, 99, 3, fails_now_and_then)) == list(range(40)) == sorted(tried(wide))


def test_the_point_of_a_killed_worker_is_tried_again_and_no_finished_one(search):
    assert points_of(run_search(search, 4, 2, dies_once)) == [0, 1, 2, 3]
    assert sorted(tried(search)) == [0, 1, 2, 2, 3]


def test_a_point_that_another_command_tries_is_waited_for(search):
    lock = trial_folder(search.folder(), 1).with_suffix(".lock")
    lock.parent.mkdir(parents=True)
    held = threading.Event()

    def hold_until_the_others_are_tried() -> None:
        with locked(lock, fcntl.LOCK_EX):
            held.set()
            while len(tried(search)) < 2:
                time.sleep(0.05)

    holder = threading.Thread(target=hold_until_the_others_are_tried)
    holder.start()
    held.wait()
    assert points_of(run_search(search, 3, 1, right)) == [0, 1, 2]
    holder.join()
    assert tried(search) == [0, 2, 1]


def test_a_point_over_which_workers_die_is_given_up_and_the_search_goes_on(search):
    first, second = run_search(search, 2, 1, dies)
    assert first.value is None
    assert "its worker process died" in first.user_attrs["reason"]
    assert (second.value, second.user_attrs["point"]) == (0.5, 1)
    assert sorted(tried(search)) == [0, 0, 1]
    assert len(run_search(search, 2, 1, dies)) == 2
    assert sorted(tried(search)) == [0, 0, 1]  # not tried again


def test_memory_that_is_lacking_fails_the_trial_and_not_the_worker(search):
    failed, good = run_search(search, 2, 1, too_large)
    assert failed.user_attrs["reason"] == "CUDA out of memory. Tried to allocate 9 GiB"
    assert (good.value, tried(search)) == (0.5, [0, 1])
    assert points_of(run_search(search, 2, 1, too_large)) == tried(search) == [0, 1]  # what failed is not tried again


def test_ctrl_c_ends_with_a_message_and_loses_nothing(search, tmp_path):
    """The command with two workers, of which each is in the midst of a long training."""
    whole = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    whole["train_temporal"]["audio_mlp"] |= {"epochs": 10**6, "patience": 10**6}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(whole))
    grid = {key: list(values) for key, values in GRID.items()}
    (tmp_path / "params").mkdir()
    (tmp_path / "params/search.yaml").write_text(
        yaml.safe_dump({"seed": 1, "train_temporal": {"audio_mlp": grid}, "fusion": {}})
    )
    (tmp_path / "data").symlink_to(search.data)
    line = [sys.executable, "-m", "emotion_pipeline", "search", TARGET, "--workers", "2"]
    command = subprocess.Popen(
        line, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, text=True, stdout=-1, process_group=0,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # where the tests themselves ignore it
    )  # fmt: skip
    while len({file.parents[1] for file in store_folder().glob("search/*/trials/*.store/checkpoints/*")}) < 2:
        assert command.poll() is None
        time.sleep(0.1)
    os.killpg(command.pid, signal.SIGINT)
    try:
        said = command.communicate(timeout=30)[0]
    except subprocess.TimeoutExpired:
        os.killpg(command.pid, signal.SIGKILL)  # else it goes on beside all other tests
        raise
    assert said.endswith("interrupted: what was finished is kept\n")
    assert command.returncode == 130
    with pytest.raises(ProcessLookupError):
        wait_for_the_end_of(command.pid)
    (folder,) = store_folder().glob("search/*")
    assert open_study(folder).get_trials() == []
    begun = {file.parents[1] for file in folder.glob("trials/*.store/checkpoints/*")}
    assert len(begun) == 2  # from which the same command goes on


def test_the_number_of_workers_changes_no_byte(search, tmp_path, monkeypatch):
    """Features as wide as openSMILE's: a product of matrices in two threads has other last bits."""
    wide, rng = tmp_path / "wide", np.random.default_rng(1)
    (wide / "ingest").mkdir(parents=True)
    write_manifest(wide / "ingest" / "clips.csv", search.clips())
    for clip in search.clips():
        features = rng.standard_normal((1, 1582)).astype(np.float32)
        write_artifact(wide / "extract_audio" / f"{clip.clip_id}.h5", clip.clip_id, Artifact({"features": features}))
    made = []
    for workers in (1, 2):
        monkeypatch.setenv("EMOTION_PIPELINE_STORE", str(tmp_path / f"store_{workers}"))
        same = replace(other(search, {"descriptor": (279, 300)}), data=wide)
        run_search(same, 2, workers)
        folders = [seed_folder(trial_folder(same.folder(), point), search.seed) for point in (0, 1)]
        made.append([(folder / "scores.h5").read_bytes() for folder in folders])
    assert made[0] == made[1]


def test_a_trial_that_fails_is_listed_with_its_reason_and_the_search_goes_on(search, tmp_path):
    hot = other(search, {"learning_rate": (0.01, 1e30), "dropout": (0.0,)})
    best = write_search(tmp_path, hot, run_search(hot, 2, 1), REPOSITORY / "params.yaml")
    assert best.params["learning_rate"] == 0.01
    rows = {row["learning_rate"]: row for row in csv.DictReader((tmp_path / "trials.csv").read_text().splitlines())}
    assert "lower learning_rate" in rows["1e+30"]["reason"]
    assert rows["1e+30"]["val_accuracy"] == ""
    assert rows["0.01"]["reason"] == ""


def test_other_data_or_other_fixed_parameters_are_another_study(search):
    def with_mlp(**changed):
        models = search.params.train_temporal
        mlp = models["audio_mlp"].model_copy(update=changed)
        update = {"train_temporal": {**models, "audio_mlp": mlp}}
        return replace(search, params=search.params.model_copy(update=update)).folder()

    assert search.folder() == with_mlp()
    assert search.folder() != with_mlp(descriptor=6)
    assert search.folder() == with_mlp(dropout=0.45)  # dropout is searched
    both = other(search, {"features": ("extract_audio", "extract_other")})
    other_features = search.data / "extract_other" / "a.h5"
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


def test_a_grid_over_models_depends_on_the_scores_of_all_of_them(search):
    grid = {"models": (("vgg_lstm",), ("audio_mlp", "c3d_lstm"))}
    inputs = other(search, grid, "fusion.mean").inputs()
    assert {path.parts[-3] for path in inputs} >= {"vgg_lstm", "audio_mlp", "c3d_lstm"}
