"""The rules that keep the project in one piece: one name per stage, one way of imports, exact deps, DVC's traps."""

import subprocess
from configparser import ConfigParser

import pytest
import yaml

from emotion_pipeline.params import Params
from emotion_pipeline.run.fingerprint import source_files
from tests.conftest import REPOSITORY

PIPELINE = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
BODY = {name: entry.get("do", entry) for name, entry in PIPELINE.items()}
PARAMETER_FILES = [REPOSITORY / "params.yaml", *sorted((REPOSITORY / "params").glob("[!s]*.yaml"))]  # not search*

ORDER = [
    *(
        "emotions",
        "clips",
        "failures",
        "params",
        "metrics",
        "fingerprint",
        "keysfile",
        "media",
        "store",
        "download",
        "ending",
        "machine",
        "stage",
        "workers",
        "clipwork",
        "reuse",
        "prune",
        "perclip",
    ),
    *(
        "device",
        "modelfile",
        "scorefile",
        "training",
        "datasets",
        "faces",
        "features",
        "dataset",
        "cache",
        "temporal",
        "fusion",
        "leave_one_out",
        "search",
        "report",
        "audit",
        "__main__",
    ),
]
"""A module imports from its own part and those before it."""


MODELS = {"train_temporal", "train_fusion", "train_ensemble", "training"}
READ = {
    "train_temporal": {"train_temporal", "training"},
    "train_fusion": {"train_fusion", "training"},
    "train_ensemble": {"train_ensemble", "train_fusion", "training"},
    "leave_one_out": {"finetune_vgg", "extract_vgg", "finetune_c3d", "extract_c3d", *MODELS},
    "evaluate": {"evaluate", "leave_one_out", *MODELS},
}
"""Sections that a stage reads beside (or, for one that names its stages by a section, instead of) its own."""


def part_of(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("stage", BODY)
def test_dvc_yaml_lists_exactly_the_code_that_the_stage_imports(stage):
    files = source_files(f"stages.{stage}").values()
    imported = {f.relative_to(REPOSITORY).as_posix() for f in files if f.stat().st_size > 1}
    listed = {dep for dep in BODY[stage]["deps"] if dep.endswith(".py")}
    assert listed == imported


def test_a_stage_has_one_name_everywhere():
    scripts = {path.stem for path in (REPOSITORY / "stages").glob("*.py")} - {"__init__"}
    sections = set(Params.model_fields) - {"runtime", "training"}
    assert set(BODY) == scripts == sections


@pytest.mark.parametrize("stage", BODY)
def test_a_stage_reads_its_own_section_and_runs_its_own_module(stage):
    read = {key.split(".")[0] for key in BODY[stage]["params"]}
    assert read == READ.get(stage, {stage})
    assert BODY[stage]["cmd"].startswith(f"exec python -m stages.{stage} ")


def test_stage_scripts_hold_no_logic():
    lengths = {p.name: len(p.read_text().splitlines()) for p in (REPOSITORY / "stages").glob("*.py")}
    assert {name: n for name, n in lengths.items() if n > 35} == {}


def test_code_imports_only_from_parts_before_it():
    modules = {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for path in (REPOSITORY / "emotion_pipeline").rglob("*.py")
        if path.name != "__init__.py"
    }
    assert {part_of(m) for m in modules} <= set(ORDER)
    upwards = {
        (module, used)
        for module in modules
        for used in source_files(module)
        if used.count(".") and ORDER.index(part_of(used)) > ORDER.index(part_of(module))
    }
    assert upwards == set()


def keys_of(value: object) -> set[str]:
    if not isinstance(value, dict):
        return set()
    return set(value) | {key for inner in value.values() for key in keys_of(inner)}


@pytest.mark.parametrize("file", PARAMETER_FILES, ids=lambda path: path.name)
def test_no_parameter_has_a_name_that_dvc_does_not_see(file):
    """A key `size` or `nfiles` below a section is left out of DVC's run cache: old results for new values."""
    keys = keys_of(yaml.safe_load(file.read_text()))
    assert len(keys) > 80
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
    """A file of git in it, and DVC takes the folder for the input itself: `--pull` and `--allow-missing` do not work.

    data/leave_one_out must be there, since most parameter files have no such stage.
    """
    files = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    deps = {dep for body in BODY.values() for dep in body["deps"] if dep.startswith("data/")}
    held = {dep for dep in deps for file in files.split() if file.startswith(f"{dep}/")}
    own = {f"data/weights/{network}" for network in ("faces", "vgg_face", "c3d")}
    assert held == own | {"data/leave_one_out"}


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
