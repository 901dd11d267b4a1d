"""The files of keys: which one belongs to an output, what it says, and that nothing damaged is taken for data."""

from pathlib import Path

import pytest

from emotion_pipeline.errors import UserError
from emotion_pipeline.run.fingerprint import code_fingerprint, file_sha256
from emotion_pipeline.run.keys import (
    input_sha256,
    keys_file_of,
    note_outputs,
    path_in_data,
    read_noted,
)

MODULE = "emotion_pipeline.metrics"

OUTS = {
    "finetune_vgg": ["data/finetune_vgg/history.csv", "data/models/finetune_vgg.safetensors"],
    "finetune_c3d/weighted": [
        "data/finetune_c3d/weighted/history.csv",
        "data/models/finetune_c3d/weighted.safetensors",
    ],
    "train_temporal/lstm": [
        "data/train_temporal/lstm/seed_1/scores.h5",
        "data/models/train_temporal/lstm/train_val/seed_1.safetensors",
    ],
}
"""By stage: a file of its folder, and a model."""


def written(stage: str) -> list[Path]:
    """Write and note the files of a stage, whose outputs are a folder and a model or a folder of models."""
    files = [Path(name) for name in OUTS[stage]]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(file.name.encode())
    single = Path(f"data/models/{stage}.safetensors")
    outs = [Path("data") / stage, single if single.is_file() else Path("data/models") / stage]
    note_outputs(outs, MODULE, {files[1]: "key"})
    return files


@pytest.fixture(params=OUTS)
def stage(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return request.param


def test_the_file_of_keys_names_keys_hashes_and_code_by_the_path_in_data(stage):
    files = written(stage)
    keys_file = keys_file_of(Path("data") / stage)
    assert keys_file == Path.cwd() / f"data/keys/{stage}.json"
    names = [name.removeprefix("data/") for name in OUTS[stage]]
    assert read_noted(keys_file, "keys") == {names[1]: "key"}
    assert read_noted(keys_file, "sha256") == {name: file_sha256(file) for name, file in zip(names, files, strict=True)}
    assert read_noted(keys_file, "made_by")["code"] == code_fingerprint(MODULE)
    assert [path for path in Path("data/keys").rglob("*") if path.is_file()] == [Path(f"data/keys/{stage}.json")]


@pytest.mark.parametrize("which", [0, 1], ids=["file of the folder", "model"])
def test_a_damaged_input_is_refused_by_name(stage, which):
    file = written(stage)[which]
    assert input_sha256(file) == file_sha256(file)
    file.write_bytes(b"x" + file.read_bytes()[1:])
    with pytest.raises(
        UserError, match=rf"^{file}: damaged, or changed by hand .* {Path.cwd()}/data/keys/{stage}\.json"
    ):
        input_sha256(file)


def test_a_damaged_file_of_keys_is_refused_by_name(stage):
    file = written(stage)[1]
    keys_file = keys_file_of(Path("data") / stage)
    keys_file.write_bytes(keys_file.read_bytes()[:-9])
    with pytest.raises(UserError, match=rf"^{keys_file}: damaged .*; `dvc checkout --force "):
        input_sha256(file)


def test_a_file_that_no_stage_noted_has_the_hash_of_its_bytes(tmp_path):
    for file in (tmp_path / "clip.mp4", tmp_path / "data/raw/clip.mp4"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"video")
        assert input_sha256(file) == file_sha256(file)


def test_an_output_outside_of_data_is_refused(tmp_path):
    for path in (tmp_path / "made/net", tmp_path / "data"):
        message = rf"^{path}: outputs of stages lie in a folder called data$"
        with pytest.raises(UserError, match=message):
            path_in_data(path)
        with pytest.raises(UserError, match=message):
            keys_file_of(path)
        with pytest.raises(UserError, match=message):
            note_outputs([path], MODULE, {})


def test_the_innermost_folder_called_data_counts(tmp_path):
    assert path_in_data(tmp_path / "data/project/data/net/history.csv") == "net/history.csv"
    assert keys_file_of(tmp_path / "data/project/data/net") == tmp_path / "data/project/data/keys/net.json"
