"""The commands explain and failures on files made by hand: no stage runs."""

import json
from pathlib import Path

import pytest
import yaml

from emotion_pipeline.audit.explain import as_text, explain
from emotion_pipeline.audit.status import list_failures
from emotion_pipeline.data.manifest import write_failures
from emotion_pipeline.errors import ClipError, UserError


def record(cmd: str, deps: list[str], out: str, **params: object) -> dict:
    ins, outs = ([{"path": path, "md5": "0" * 32} for path in paths] for paths in (deps, [out]))
    return {"cmd": cmd, "deps": ins, "params": {"params.yaml": params}, "outs": outs}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two fusions of one model; the chain ends in metrics.json. One stage reads what it also writes into."""
    stages = {
        "fuse@mean": record(
            "exec fuse", ["data/train_temporal/a"], "data/fuse/mean", **{"fusion.mean": {"c": [1] * 99}}
        ),
        "fuse@max": record("exec fuse", ["data/train_temporal/a"], "data/fuse/max"),
        "train_temporal@a": record("exec train", ["data/track/b.h5", "stages/x.py"], "data/train_temporal/a"),
        "track": record("exec track", [], "data/track"),
        "evaluate": record("exec evaluate", ["data/fuse"], "reports/metrics.json"),
        "old": record("exec old", ["data/old/x"], "data/old"),
    }
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    (tmp_path / "reports").mkdir()
    tree = {"fusion": {name: {"test": {"accuracy": 0.5, "n": 4}} for name in ("mean", "max")}}
    (tmp_path / "reports/metrics.json").write_text(json.dumps(tree))
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "reports/metrics.json"


def explained(number: str = "") -> dict:
    return explain(Path("reports/metrics.json"), number)


def test_all_stages_behind_a_file_come_before_those_that_they_read_from(repository):
    assert list(explained()["stages"]) == ["evaluate", "fuse@max", "fuse@mean", "train_temporal@a", "track"]


def test_a_number_leads_to_the_stages_of_its_own_model(repository):
    own = explained("fusion.max.test.n")
    assert (own["value"], own["as_in_dvc_lock"]) == (4, False)
    assert list(own["stages"]) == ["evaluate", "fuse@max", "train_temporal@a", "track"]
    assert explained("fusion.mean.test")["value"] == {"accuracy": 0.5, "n": 4}


def test_a_wrong_number_is_answered_by_those_that_are_near(repository):
    with pytest.raises(
        UserError, match=r"has no number 'fusion\.men\.test\.accuracy'; name one as fusion\.mean\.test\.acc"
    ):
        explained("fusion.men.test.accuracy")


def test_no_line_of_the_text_is_longer_than_a_screen(repository):
    text = as_text(explained("fusion.mean.test.n"))
    assert text.count("1,") == 98
    assert "\n  fusion.mean: {" in text
    assert max(map(len, text.splitlines())) <= 120


def test_failures_are_joined_over_stages_with_folders_of_names_and_not_told_again_by_models(tmp_path):
    outs = [tmp_path / name for name in ("track", "extract_c3d/random", "train_temporal/a", "models/a")]
    for out in outs[:3]:
        write_failures(out, {"b": ClipError("no_face", "in none")})
    (row,) = list_failures(tmp_path, outs)
    assert row == {
        "clip_id": "b",
        "reason": "no_face",
        "detail": "in none",
        "stage": "track",
        "also_in": ["extract_c3d/random"],
    }
    with pytest.raises(UserError, match=r"no failures\.csv in any stage's folder"):
        list_failures(tmp_path, outs[3:])
