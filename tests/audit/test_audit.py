"""The commands status, verify, failures and explain in a clone where everything has run."""

import json
import sys
from importlib.metadata import version

import numpy as np
import pytest

from emotion_pipeline.audit.verify import content_problem
from emotion_pipeline.data.artifact import Artifact, write_artifact
from emotion_pipeline.data.manifest import read_manifest
from tests.clone import Clone

pytestmark = pytest.mark.filterwarnings("ignore")  # DVC's own


def status_of(clone: Clone) -> dict[str, dict]:
    return {row["stage"]: row for row in json.loads(clone.command("status", "--json"))}


def counts_of(row: dict) -> dict[str, int]:
    return {state: len(clips) for state, clips in row["clips"].items() if clips}


def test_status_says_what_a_changed_parameter_would_compute_before_anything_runs(first):
    clips = len(read_manifest(first.folder / "data/ingest/clips.csv"))
    before = status_of(first)
    assert {stage.split("@")[0] for stage, row in before.items() if row["clips"]} == {
        *("detect", "align", "track", "quality", "extract_vgg", "extract_c3d", "extract_audio")
    }
    assert all(counts_of(row) == {"done": clips} for row in before.values() if row["clips"])
    assert not any(row["changed"] or row["after"] for row in before.values())
    file = first.folder / "params.yaml"
    text = file.read_text()
    try:
        first.edit("track", "margin", value=0.2)
        first.edit("fusion", "submission_3", "hidden", value=7)
        after = status_of(first)
        shown = first.command("status")
    finally:
        file.write_text(text)
    assert {
        stage: counts_of(after[stage]) for stage in ("align", "track", "quality", "extract_vgg", "extract_audio")
    } == {
        "align": {"done": clips},
        "track": {"to compute": clips},
        "quality": {"waiting": clips},
        "extract_vgg": {"waiting": clips},
        "extract_audio": {"done": clips},
    }
    assert after["fuse@submission_3"]["changed"] == ["params.yaml fusion.submission_3: modified"]
    assert after["fuse@mean"]["changed"] == []
    assert "finetune_c3d@weighted" in after["train_temporal@c3d_lstm"]["after"] + after["extract_c3d@weighted"]["after"]
    assert f"Clips to compute now: {clips} in track." in shown
    assert status_of(first) == before


def test_verify_names_what_is_damaged_and_the_next_run_mends_it(first):
    before = first.outputs()
    assert first.command("verify").endswith("\n0 damaged\n")
    file = first.folder / "data/extract_vgg/odd_two_faces_1.h5"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink()
    file.write_bytes(content)
    output = first.command("verify", status=1)
    assert "data/extract_vgg/odd_two_faces_1.h5: its bytes are not those that dvc.lock names" in output
    first.command("verify", "--remove", status=1)
    assert not file.exists()
    first.repro()
    assert first.command("verify").endswith("\n0 damaged\n")
    assert first.outputs() == before


def test_a_damaged_hash_in_the_store_costs_the_kept_result_and_no_output(first):
    hash_file = sorted((first.folder / ".cache/results").rglob("*.sha256"))[0]
    hash_file.chmod(0o644)
    hash_file.write_bytes(b"x" + hash_file.read_bytes()[1:])
    rows = json.loads(first.command("verify", "--json", "--remove", status=1))["damaged"]
    assert [row["path"] for row in rows] in [[str(hash_file.with_suffix(s))] for s in (".h5", ".safetensors")]
    assert first.command("verify").endswith("\n0 damaged\n")


@pytest.mark.parametrize(
    ("name", "problem"), [("features", "`features` has values that are no numbers"), ("boxes", "")]
)
def test_only_what_models_read_must_be_numbers_throughout(tmp_path, name, problem):
    write_artifact(tmp_path / "a.h5", "a", Artifact({name: np.array([[1.0, np.nan]])}))
    assert content_problem(tmp_path / "a.h5") == problem
    (tmp_path / "a.h5").rename(tmp_path / "b.h5")
    assert content_problem(tmp_path / "b.h5") == "is of clip a"


def test_a_damaged_feature_is_refused_by_name_and_not_trained_on(first):
    file = first.folder / "data/extract_audio/odd_two_faces_1.h5"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:-40] + b"\0" * 40)
    try:
        command = "-m stages.train_temporal audio_mlp data/ingest data/extract_audio data/x/models data/x/y"
        output = first.run(sys.executable, *command.split(), status=1)
    finally:
        file.write_bytes(content)
    assert "data/extract_audio/odd_two_faces_1.h5: damaged, or changed by hand" in output
    assert not (first.folder / "data/x").exists()


def test_explain_leads_from_a_number_to_parameters_code_versions_and_clips(first):
    own = json.loads(first.command("explain", "reports/metrics.json", "fusion.mean.test.accuracy", "--json"))
    metrics = json.loads((first.folder / "reports/metrics.json").read_text())
    assert own["value"] == metrics["fusion"]["mean"]["test"]["accuracy"]
    assert own["as_in_dvc_lock"]
    names = list(own["stages"])
    assert names[:2] == ["evaluate", "fuse@mean"]
    assert {"train_temporal@vgg_lstm", "finetune_vgg", "track", "detect", "ingest"} < set(names)
    assert not {"fuse@submission_3", "train_temporal@audio_svm", "extract_c3d@random"} & set(names)
    assert names.index("extract_vgg") < names.index("track") < names.index("ingest")
    lstm = own["stages"]["train_temporal@vgg_lstm"]
    assert lstm["params"]["train_temporal.vgg_lstm"]["hidden"] == 8
    assert lstm["made_by"]["versions"]["torch"] == version("torch").split("+")[0]
    assert own["clips"]["test"] == sum(
        row.split(",")[2] == "test" for row in (first.folder / "data/ingest/clips.csv").read_text().splitlines()
    )
    assert "no number" in first.command("explain", "reports/metrics.json", "fusion.mean.nothing", status=1)
    assert "no stage in dvc.lock writes" in first.command("explain", "README.md", status=1)
    keys_file = first.folder / "data/keys/train_temporal/vgg_lstm.json"
    whole = keys_file.read_bytes()
    keys_file.write_bytes(whole[:-9])
    output = first.command("explain", "reports/metrics.json", status=1)
    keys_file.write_bytes(whole)
    assert f"ERROR: {keys_file.relative_to(first.folder)}: damaged" in output


def test_failures_lists_every_clip_that_some_stage_could_not_use(first):
    rows = json.loads(first.command("failures", "--json"))
    assert {(row["clip_id"][:-2], row["reason"]) for row in rows} == {
        ("odd_no_face", "no_face"),
        ("odd_no_sound", "no_sound"),
    }
    assert {row["stage"] for row in rows} == {"detect", "extract_audio"}
