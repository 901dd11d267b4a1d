"""The rules that keep the project in one piece: one name per stage, one way of imports, exact deps, DVC's traps."""

import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

from emotion_pipeline.params import Params
from emotion_pipeline.run.fingerprint import carries_unchanged, source_files
from tests.conftest import REPOSITORY

PIPELINE = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
BODY = {name: entry.get("do", entry) for name, entry in PIPELINE.items()}
PARAMETER_FILES = [REPOSITORY / "params.yaml", *sorted((REPOSITORY / "params").glob("[!s]*.yaml"))]  # not search*

SECTIONS = {"fuse": "fusion"}
"""The section of a stage's own parameters, where it is not called as the stage."""

READ = {
    "train_temporal": {"train_temporal", "training"},
    "fuse": {"fusion", "training"},
    "evaluate": {"evaluate", "train_temporal", "fusion", "training"},
}
"""Sections that a stage reads, where it reads more than its own."""


def room_of(module: str) -> str:
    """What stands in `deps` for a module: its room, or the module where it stands beside the rooms."""
    path = Path(*module.split(".")[:2])
    return path.as_posix() if (REPOSITORY / path).is_dir() else f"{path.as_posix()}.py"


@pytest.mark.parametrize("stage", BODY)
def test_dvc_yaml_names_exactly_the_rooms_whose_code_makes_the_stages_numbers(stage):
    """A room of which a stage needs nothing but modules that carry numbers unchanged may be named, too."""
    needed, imported = (
        {room_of(name) for name in source_files(f"stages.{stage}", stop) if name.startswith("emotion_pipeline.")}
        for stop in (carries_unchanged, lambda name: False)
    )
    own = f"stages/{stage}.py"
    code = {dep for dep in BODY[stage]["deps"] if dep.startswith(("emotion_pipeline", "stages"))}
    if "data/ingest" in BODY[stage]["deps"]:
        needed -= {"emotion_pipeline/emotions.py"}  # an edit of it makes another data/ingest/classes.csv
    assert needed | {own} <= code <= imported | {own}
    assert code & {f"emotion_pipeline/{name}" for name in ("run", "params", "errors.py")} == set()


def test_the_pipeline_can_be_reviewed():
    assert len((REPOSITORY / "dvc.yaml").read_text().splitlines()) <= 320
    assert (REPOSITORY / "dvc.lock").stat().st_size <= 100_000


def test_a_stage_has_one_name_everywhere():
    scripts = {path.stem for path in (REPOSITORY / "stages").glob("*.py")} - {"__init__"}
    sections = set(Params.model_fields) - {"runtime", "training"}
    assert set(BODY) == scripts
    assert {SECTIONS.get(stage, stage) for stage in BODY} == sections


@pytest.mark.parametrize("stage", BODY)
def test_a_stage_reads_its_own_section_and_runs_its_own_module(stage):
    read = {key.split(".")[0] for key in BODY[stage]["params"]}
    assert read == READ.get(stage, {stage})
    assert BODY[stage]["cmd"].startswith(f"exec python -m stages.{stage} ")


def test_stage_scripts_hold_no_logic():
    lengths = {p.name: len(p.read_text().splitlines()) for p in (REPOSITORY / "stages").glob("*.py")}
    assert {name: n for name, n in lengths.items() if n > 35} == {}


def keys_of(value: object) -> set[str]:
    if not isinstance(value, dict):
        return set()
    return set(value) | {key for inner in value.values() for key in keys_of(inner)}


@pytest.mark.parametrize("file", PARAMETER_FILES, ids=lambda path: path.name)
def test_no_parameter_has_a_name_that_dvc_does_not_see(file):
    """A key `size` or `nfiles` below a section is left out of DVC's run cache: old results for new values."""
    keys = keys_of(yaml.safe_load(file.read_text()))
    assert len(keys) > 60
    assert keys & {"size", "nfiles"} == set()


def test_no_stage_depends_on_keys_or_on_how_to_run():
    for body in BODY.values():
        assert not any(dep.startswith("data/keys") for dep in body["deps"])
        assert not any(key.startswith("runtime") for key in body["params"])


def test_outputs_are_removed_before_a_run_and_the_run_cache_stays_on():
    assert all("persist" not in str(body["outs"]) and "cache: false" not in str(body["outs"]) for body in BODY.values())


def test_links_into_dvcs_cache_stay_off_by_default():
    """A hard or symbolic link lets root write into the cache through an output."""
    config = ConfigParser()
    config.read(REPOSITORY / ".dvc/config")
    assert not config.has_option("cache", "type")
    assert config["core"]["analytics"] == "false"


def test_python_files_compiled_in_a_folder_do_not_change_it():
    assert "__pycache__/" in (REPOSITORY / ".dvcignore").read_text().split()


def test_make_repro_fails_where_dvc_could_not_commit():
    """DVC ends with 0 when its cache runs out of disk; `dvc status` afterwards does not."""
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "repro"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert recipe.index("dvc status --quiet") > recipe.index("dvc repro")


def test_no_folder_that_a_stage_depends_on_is_there_before_its_files():
    """A file of git in it, and DVC takes the folder for the input: `--pull` and `--allow-missing` do not work."""
    files = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    deps = {dep for body in BODY.values() for dep in body["deps"] if dep.startswith("data/")}
    held = {dep for dep in deps for file in files.split() if file.startswith(f"{dep}/")}
    own = {f"data/weights/{network}" for network in ("faces", "vgg_face", "c3d")}
    assert held == own


def test_make_repro_starts_where_a_killed_dvc_left_its_lock_file_empty(tmp_path):
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "repro"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    first = next(line for line in recipe.splitlines() if "rwlock" in line)
    assert recipe.index(first) < recipe.index("dvc repro")
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    for content in ("", '{"read": {}}'):
        (tmp_path / ".dvc/tmp/rwlock").write_text(content)
        subprocess.run(["bash", "-c", first], cwd=tmp_path, check=True)
        assert (tmp_path / ".dvc/tmp/rwlock").exists() == bool(content)
