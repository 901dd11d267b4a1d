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
from tests.clone import ENSEMBLES, METHODS, MODELS, PER_CLIP, new_clone

pytestmark = pytest.mark.filterwarnings("ignore")  # DVC's own


def test_every_stage_has_run_and_left_its_report(first):
    metrics = json.loads((first.folder / "reports/metrics.json").read_text())
    assert set(metrics["temporal"]) | set(metrics["baseline"]) == set(MODELS)
    assert set(metrics["fusion"]) == set(METHODS)
    assert set(metrics["ensemble"]) == set(ENSEMBLES)
    for name, scores in [pair for kind in metrics.values() for pair in kind.items()]:
        for split in ("train", "test") if name == "submission_7" else ("train", "val", "test"):
            assert {"accuracy", "uar", "n", "n_present"} <= set(scores[split])
            assert scores[split]["n"] >= 7
    page = (first.folder / "reports/report.html").read_text()
    titles = [title_of(name) for name in (*MODELS, *METHODS, *ENSEMBLES)]
    assert [text for text in (*titles, "no_face", "no_sound") if text not in page] == []
    summaries = first.summaries(first.first_output)
    assert set(summaries) == set(PER_CLIP)
    assert all("0 reused, 0 failed" in counts for counts in summaries.values())


def test_a_second_run_runs_nothing(first):
    output = first.repro()
    assert "Data and pipelines are up to date" in output
    assert "Running stage" not in output


USERS = {fusion: f"train_ensemble@{name}" for name, fusion in ENSEMBLES.items()}
"""By fusion: the ensemble that uses its parameters."""

EDITS = [
    (("sample", "seed"), 99, {"sample"}),
    (("ingest", "min_clips"), 19, {"ingest"}),
    (("detect", "scale"), 0.7, {"detect"}),
    (("align", "predictor"), "fan_2d", {"align"}),
    (("track", "margin"), 0.2, {"track"}),
    (("quality", "sheet_frames"), 4, {"quality"}),
    (("finetune_vgg", "jitter", "flip"), False, {"finetune_vgg"}),
    (("extract_vgg", "relu"), False, {"extract_vgg"}),
    (("finetune_c3d", "weighted", "temperature", "first"), 4.0, {"finetune_c3d@weighted"}),
    (("extract_c3d", "weighted", "overlaps", 1), 4, {"extract_c3d@weighted"}),
    (("extract_audio", "sample_rate"), 8000, {"extract_audio"}),
    (("train_temporal", "vgg_lstm", "layers"), 2, {"train_temporal@vgg_lstm", "evaluate"}),
    (("train_temporal", "vgg_maximum", "pooling"), "mean", {"train_temporal@vgg_maximum", "evaluate"}),
    (("train_temporal", "audio_svm", "c"), [1.0], {"train_temporal@audio_svm", "evaluate"}),
    *(
        (
            ("train_fusion", m, "models"),
            ["vgg_lstm", "audio_mlp"],
            {f"train_fusion@{m}", "evaluate"} | {u for f, u in USERS.items() if f == m},
        )
        for m in METHODS
    ),
    *((("train_ensemble", e, "members"), ["audio_mlp"], {f"train_ensemble@{e}", "evaluate"}) for e in ENSEMBLES),
    (("leave_one_out", "subjects"), [], set()),
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
    assert changed == {"train_temporal", "train_fusion", "train_ensemble", "evaluate"}


def test_every_section_of_the_parameters_has_an_edit(first):
    sections = set(yaml.safe_load((first.folder / "params.yaml").read_text()))
    assert sections - {keys[0] for keys, _, _ in EDITS} == {"training"}


def test_a_changed_fusion_runs_that_fusion_and_evaluate_only(first):
    before = first.outputs()
    first.edit("train_fusion", "moddrop", "drop_probability", value=0.5)
    output = first.repro()
    ran = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
    assert ran == ["train_fusion@moddrop", "train_ensemble@submission_2", "evaluate"]
    changed = {path for path, md5 in first.outputs().items() if before[path] != md5}
    assert "data/train_fusion/moddrop" in changed
    own = ("data/train_fusion/moddrop", "data/train_ensemble/submission_2", "reports/", "data/keys/")
    assert all(path.startswith(own) for path in changed)
    first.edit("train_fusion", "moddrop", "drop_probability", value=0.3)
    first.repro()
    assert first.outputs() == before


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


@pytest.mark.timeout(1800)
def test_the_same_run_in_another_folder_gives_equal_bytes(first, tmp_path):
    other = new_clone(tmp_path / "other")
    other.limit_s = first.limit_s
    other.run("dvc", "repro", "sample")
    shutil.copytree(other.folder / "data/raw/sample", other.folder / "data/raw/clips")
    other.edit("runtime", "workers", value=1)
    other.repro()
    assert other.outputs() == first.outputs()


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
