"""The whole pipeline through DVC, on a handful of clips and with networks of a few units.

One clone runs it all; the tests look at what it left, change something, and look at what runs again.
"""

import json
import shutil
from contextlib import chdir

import h5py
import pytest
import yaml
from dvc.repo import Repo

from emotion_pipeline.report.paper import title_of
from tests.clone import FUSIONS, MODELS, PER_CLIP, new_clone

NETWORKS = ("weighted", "central", "random")

pytestmark = pytest.mark.filterwarnings("ignore")  # DVC's own


def test_every_stage_has_run_and_left_its_report(first):
    metrics = json.loads((first.folder / "reports/metrics.json").read_text())
    assert set(metrics["temporal"]) | set(metrics["baseline"]) == set(MODELS)
    assert set(metrics["fusion"]) == set(FUSIONS)
    for name, scores in [pair for kind in metrics.values() for pair in kind.items()]:
        for split in ("train", "test") if name == "submission_7" else ("train", "val", "test"):
            assert {"accuracy", "uar", "n", "n_present"} <= set(scores[split])
            assert scores[split]["n"] >= 7
    page = (first.folder / "reports/report.html").read_text()
    titles = [title_of(name) for name in (*MODELS, *FUSIONS)]
    assert [text for text in (*titles, "no_face", "no_sound") if text not in page] == []
    summaries = first.summaries(first.first_output)
    assert set(summaries) == set(PER_CLIP)
    assert all("0 reused, 0 failed" in counts for counts in summaries.values())


def test_a_second_run_runs_nothing(first):
    output = first.repro()
    assert "Data and pipelines are up to date" in output
    assert "Running stage" not in output


EDITS = [
    (("sample", "seed"), 99, {"sample"}),
    (("ingest", "min_clips"), 19, {"ingest"}),
    (("detect", "scale"), 0.7, {"detect"}),
    (("align", "predictor"), "fan_2d", {"align"}),
    (("track", "margin"), 0.2, {"track"}),
    (("quality", "sheet_frames"), 4, {"quality"}),
    (("finetune_vgg", "jitter", "flip"), False, {"finetune_vgg"}),
    (("extract_vgg", "relu"), False, {"extract_vgg"}),
    (("finetune_c3d", "weighted", "temperature_first"), 4.0, {"finetune_c3d@weighted"}),
    (("extract_c3d", "weighted", "overlaps", 1), 4, {"extract_c3d@weighted"}),
    (("extract_audio", "sample_rate"), 8000, {"extract_audio"}),
    (("train_temporal", "vgg_lstm", "layers"), 2, {"train_temporal@vgg_lstm", "evaluate"}),
    (("train_temporal", "vgg_maximum", "pooling"), "mean", {"train_temporal@vgg_maximum", "evaluate"}),
    (("train_temporal", "audio_svm", "c"), [1.0], {"train_temporal@audio_svm", "evaluate"}),
    *((("fusion", name, "models"), ["vgg_lstm", "audio_mlp"], {f"fuse@{name}", "evaluate"}) for name in FUSIONS[:-1]),
    (("fusion", "submission_7", "trained_on"), "train", {"fuse@submission_7", "evaluate"}),
    (("gallery", "strip_faces"), 3, {"gallery"}),
    (("evaluate", "bootstrap_samples"), 40, {"evaluate"}),
    (("runtime", "workers"), 1, set()),
    (("runtime", "max_failed"), 0.9, set()),
]


@pytest.fixture(scope="module")
def changed(first) -> dict[str, set[str]]:
    """Stage -> the keys of params.yaml that DVC says have changed for it, when all the edits are made."""
    file = first.folder / "params.yaml"
    before = file.read_text()
    try:
        for keys, value, _ in EDITS:
            first.edit(*keys, value=value)
        with chdir(first.folder), Repo() as repository:
            changes = repository.status()
    finally:
        file.write_text(before)
    modified = {stage: set(rows[0]["changed deps"]["params.yaml"]) for stage, rows in changes.items()}
    assert changes == {
        stage: [{"changed deps": {"params.yaml": dict.fromkeys(keys, "modified")}}] for stage, keys in modified.items()
    }
    return modified


@pytest.mark.parametrize(
    ("keys", "stages"), [(keys, stages) for keys, _, stages in EDITS], ids=[".".join(map(str, e[0])) for e in EDITS]
)
def test_a_changed_parameter_changes_exactly_the_stages_that_read_it(changed, keys, stages):
    sections = {".".join(map(str, keys[:n])) for n in range(1, len(keys) + 1)}
    assert {stage for stage, modified in changed.items() if modified & sections} == stages


def test_another_seed_runs_every_training_behind_the_features_again(first):
    file = first.folder / "params.yaml"
    before = file.read_text()
    try:
        first.edit("training", "seeds", value=[1, 3])
        with chdir(first.folder), Repo() as repository:
            changed = {name.split("@")[0] for name in repository.status()}
    finally:
        file.write_text(before)
    assert changed == {"train_temporal", "fuse", "evaluate"}


def test_every_section_of_the_parameters_has_an_edit(first):
    sections = set(yaml.safe_load((first.folder / "params.yaml").read_text()))
    assert sections - {keys[0] for keys, _, _ in EDITS} == {"training"}


def ran(output: str) -> list[str]:
    """The stages that DVC ran."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def test_a_changed_fusion_runs_that_fusion_and_evaluate_only(first):
    before = first.outputs()
    first.edit("fusion", "submission_3", "drop_probability", value=0.5)
    assert ran(first.repro()) == ["fuse@submission_3", "evaluate"]
    changed = {path for path, md5 in first.outputs().items() if before[path] != md5}
    assert {"data/fuse/submission_3", "data/models/fuse/submission_3"} <= changed
    own = ("data/fuse/submission_3", "data/models/fuse/submission_3", "reports/", "data/keys/")
    assert all(path.startswith(own) for path in changed)
    first.edit("fusion", "submission_3", "drop_probability", value=0.3)
    first.repro()
    assert first.outputs() == before


def test_one_more_network_model_and_fusion_are_an_edit_of_the_parameters_alone(first):
    """`dvc.yaml` names none: a fourth C3D network, a model on its features under another name, a fusion of that."""
    file, lock = first.folder / "params.yaml", first.folder / "dvc.lock"
    before, locked, outputs = file.read_text(), lock.read_text(), first.outputs()
    params = yaml.safe_load(before)
    params["finetune_c3d"]["all_windows"] = params["finetune_c3d"]["weighted"] | {"windows": "all"}
    params["extract_c3d"]["all_windows"] = params["extract_c3d"]["central"]
    own = {"features": "extract_c3d/all_windows", "overlap": 0, "refit": False}
    params["train_temporal"]["windows_of_all"] = params["train_temporal"]["c3d_lstm"] | own
    params["fusion"]["two"] = params["fusion"]["mean"] | {"models": ["windows_of_all", "audio_svm"]}
    try:
        file.write_text(yaml.safe_dump(params, sort_keys=False))
        stages = ran(first.repro())
        metrics = json.loads((first.folder / "reports/metrics.json").read_text())
        page = (first.folder / "reports/report.html").read_text()
    finally:
        file.write_text(before)
    new = ["finetune_c3d@all_windows", "extract_c3d@all_windows", "train_temporal@windows_of_all", "fuse@two"]
    assert set(new) <= set(stages)
    assert set(stages) - set(new) <= {f"fuse@{name}" for name in FUSIONS} | {"evaluate"}  # they read all models' scores
    assert {"windows_of_all"} == set(metrics["temporal"]) - set(MODELS)
    assert {"two"} == set(metrics["fusion"]) - set(FUSIONS)
    assert "C3D, all_windows windows" in page
    output = first.repro()
    assert {path: first.outputs()[path] for path in outputs} == outputs
    for left in ("data/finetune_c3d/all_windows", "data/train_temporal/windows_of_all", "data/fuse/two"):
        assert f"{left}: no entry of params.yaml; remove this folder" in output
        shutil.rmtree(first.folder / left)
    lock.write_text(locked)
    first.repro()
    assert first.outputs() == outputs


def test_an_edit_in_a_room_runs_the_stages_behind_it_and_computes_no_clip(first):
    """A comment in faces/ and a line that changes no number in run/: look-ups, and nothing at all."""
    before = first.outputs()
    carrier, science = (first.folder / "emotion_pipeline" / name for name in ("run/perclip.py", "faces/link.py"))
    texts = carrier.read_text(), science.read_text()
    try:
        carrier.write_text(texts[0] + "\nUNUSED = 1\n")
        assert ran(first.repro()) == []
        science.write_text(texts[1] + "\n# a comment\n")
        output = first.repro()
        assert first.outputs() == before
    finally:
        carrier.write_text(texts[0])
        science.write_text(texts[1])
    behind = {"detect", "align", "track", "quality", "gallery", "finetune_vgg", "extract_vgg"}
    behind |= {f"{stage}@{network}" for stage in ("finetune_c3d", "extract_c3d") for network in NETWORKS}
    assert set(ran(output)) == behind
    summaries = first.summaries(output)
    assert set(summaries) == set(PER_CLIP) - {"extract_audio"}
    assert all(counts.startswith("0 computed, ") for counts in summaries.values())
    assert "trained" not in output.replace("that it is trained on", "")
    first.repro()


def test_an_override_makes_the_named_clip_again_and_no_other(first):
    before, file = first.outputs(), first.folder / "data/overrides.csv"
    header = file.read_text()
    file.write_text(f"{header}odd_two_faces_1,1\n")
    (counts,) = first.summaries(first.run("dvc", "repro", "track")).values()
    assert counts.startswith("1 computed, ")
    with h5py.File(first.folder / "data/track/odd_two_faces_1.h5") as track:
        assert (track.attrs["chosen_track"], track.attrs["chosen_because"]) == (1, "override")
    file.write_text(header)
    first.run("dvc", "repro", "track")  # DVC has that run in its cache
    assert first.outputs() == before


def test_an_added_clip_is_the_only_one_computed_and_trains_nothing(first):
    """It has no label. DVC has the stages without it in its run cache."""
    raw, before = first.folder / "data/raw/clips", first.outputs()
    table, names = (raw / "clips.csv").read_text(), {path.name for path in raw.iterdir()}
    first.add_clip()
    output = first.run("dvc", "repro", "extract_vgg", "train_temporal@audio_mlp")
    summaries = first.summaries(output)
    assert set(summaries) == {"detect", "align", "track", "extract_vgg", "extract_audio"}
    assert all(counts.startswith("1 computed, ") and counts.endswith(" 0 failed") for counts in summaries.values())
    assert "finetune_vgg: reused" in output
    assert "best epoch" not in output
    (added,) = [path for path in raw.iterdir() if path.name not in names]
    added.unlink()
    (raw / "clips.csv").write_text(table)
    first.run("dvc", "repro", "extract_vgg", "train_temporal@audio_mlp")
    assert first.outputs() == before


@pytest.mark.timeout(1800)
def test_the_same_run_in_another_folder_gives_equal_bytes(first, tmp_path):
    """Of each kind of stage one; the attack `interruption` compares whole runs."""
    other = new_clone(tmp_path / "other")
    other.limit_s = first.limit_s
    other.run("dvc", "repro", "sample")
    shutil.copytree(other.folder / "data/raw/sample", other.folder / "data/raw/clips")
    other.edit("runtime", "workers", value=1)
    other.run("dvc", "repro", "fuse@svm", "fuse@submission_3", "gallery")
    outputs = other.outputs()
    assert {"data/extract_c3d/central", "data/models/fuse/submission_3", "reports/faces.csv"} <= set(outputs)
    assert outputs == {path: md5 for path, md5 in first.outputs().items() if path in outputs}


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("detect", "thresold"), 1, r"params.yaml: detect.thresold: unknown key (value 1)"),
        (("track", "margin"), 5, r"params.yaml: track.margin: Input should be less than or equal to 1, got 5"),
        (("ingest", "root"), "data/empty", "data/empty"),
        (("finetune_vgg", "weights"), "vgg_face_dag.pth", "data/weights/vgg_face/vgg_face_dag.pth"),
    ],
    ids=["unknown key", "out of range", "empty folder", "missing weights"],
)
def test_a_mistake_gives_one_clear_message(first, keys, value, message):
    file = first.folder / "params.yaml"
    before = file.read_text()
    (first.folder / "data/empty").mkdir(exist_ok=True)
    try:
        first.edit(*keys, value=value)
        output = first.run("dvc", "repro", keys[0], status=255)
    finally:
        file.write_text(before)
    assert message in output
    assert "Traceback" not in output
