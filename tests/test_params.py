"""Names that one section takes from another, and seeds: a mistake is named before anything runs."""

import json
import re
from pathlib import Path

import pytest
import yaml

from emotion_pipeline.errors import UserError
from emotion_pipeline.params import load_params
from tests.conftest import REPOSITORY


def changed(keys: tuple[str, ...], value: object) -> dict:
    """The sections of params.yaml with one value changed or added."""
    whole = section = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    return whole


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("training", "seeds"), [1, 1], r"training\.seeds: a seed is there twice, got \[1, 1\]"),
        (("training", "seeds"), [], r"training\.seeds: "),
        (
            ("fusion", "submission_2", "models"),
            ["vgg_lstm", "nobody"],
            r"fusion\.submission_2\.models: 'nobody' is not among .*vgg_lstm",
        ),
        (
            ("fusion", "submission_7", "models"),
            ["vgg_lstm_bidirectional"],
            r"submission_7\.models with trained_on: train_val: 'vgg_lstm_bidirectional' is not among .*audio_mlp",
        ),
        (("fusion", "submission_2", "method"), "magic", r"fusion\.submission_2: .*'magic'.*'majority', 'mean', 'max'"),
        (("fusion", "mean", "models"), [], r"fusion\.mean\.models: "),
        (
            ("train_temporal", "c3d_lstm", "features"),
            "extract_c3d/nobody",
            r"extract_c3d/: 'nobody' is not among central",
        ),
        (("train_temporal", "c3d_lstm", "features"), "../x", r"train_temporal\.c3d_lstm\.features: "),
        (("extract_c3d", "nobody"), {"overlaps": [0], "relu": True, "flipped": False}, r"extract_c3d: 'nobody' is not"),
        (("ingest", "test_subject"), "../x", r"ingest\.test_subject: "),
        (("train_temporal", "vgg_lstm", "model"), "gru", r"train_temporal\.vgg_lstm: .*'gru'.*'scores', 'lstm'"),
    ],
)
def test_a_wrong_name_is_refused_by_its_key(tmp_path: Path, keys, value, message):
    whole = changed(keys, value)
    (tmp_path / "params.yaml").write_text(json.dumps(whole, sort_keys=True))  # opensmile's oyaml ends PyYAML's sorting
    with pytest.raises(UserError, match=message) as caught:
        load_params(tmp_path / "params.yaml")
    assert "Value error" not in str(caught.value)
    assert len(str(caught.value)) < 600


OLD = [
    (("finetune_vgg", "keep_probability"), 0.5, "`dropout`"),
    (("finetune_vgg", "course"), "constant", "`lr_schedule`"),
    (("finetune_vgg", "held_out"), 0.1, "`val_fraction`"),
    (("finetune_c3d", "weighted", "temperature"), {"first": 1}, "`temperature_first`"),
    (("extract_vgg", "rectified"), True, "`relu`"),
    (("train_temporal", "vgg_mean", "take"), "mean", "`pooling`"),
    (("train_temporal", "vgg_lstm", "fit"), {"epochs": 1}, "stand in the model itself"),
    (("train_temporal", "vgg_lstm", "augment"), {"flip": True}, "`augment_shortest`"),
    (("fusion", "submission_2", "gamma"), {"first": 1}, "`gamma_first`"),
    (("fusion", "submission_2", "members"), ["vgg_lstm"], "`models`"),
    (("train_fusion",), {}, "the section `fusion`"),
    (("train_ensemble",), {}, "the section `fusion`"),
    (("leave_one_out",), {"subjects": []}, "`ingest.test_subject`"),
    (("search",), {"seed": 1}, "params/search.yaml"),
]


@pytest.mark.parametrize(("keys", "value", "new"), OLD, ids=[".".join(keys) for keys, _, _ in OLD])
def test_an_old_name_is_refused_with_the_new_one(tmp_path: Path, keys, value, new):
    whole = changed(keys, value)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(whole))
    with pytest.raises(UserError, match=rf"params\.yaml: {'.'.join(keys)}: this key has a new name, .*{new}"):
        load_params(tmp_path / "params.yaml")


FILES = [
    REPOSITORY / "params.yaml",
    *(REPOSITORY / "params" / f"{name}.yaml" for name in ("afew", "fer2013", "javanese")),
]


def mappings(value: object) -> list[dict]:
    if not isinstance(value, dict):
        return []
    return [value, *(inner for item in value.values() for inner in mappings(item))]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_no_mapping_is_shared_by_two_entries(file):
    """`dvc exp run -S` writes a change into a shared mapping, then the other entry's old value: the change is lost."""
    load_params(file)
    found = [id(mapping) for mapping in mappings(yaml.safe_load(file.read_text()))]
    assert len(found) == len(set(found))


def leaves(value: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        key: leaf for name, item in value.items() for key, leaf in leaves(item, f"{prefix}.{name}".strip(".")).items()
    }


TRAINED = r"(learning_rate|patience|epochs)"
INTENDED = {
    "afew": rf"sample\..*|ingest\.(dataset|root|min_clips)|detect\.scale|evaluate\.title"
    rf"|finetune_vgg\.(stills|weights|width|pixels|grey|dropout|batch_images|epochs)"
    rf"|finetune_c3d\.\w+\.(weights|width|learning_rate)|extract_\w+(\.weighted)?\.flipped"
    rf"|train_temporal\.\w+\.(hidden|descriptor|layers|bidirectional|dropout|augment_\w+|weight_decay|{TRAINED})"
    rf"|fusion\.\w+\.folds",
    "fer2013": rf"finetune_vgg\.(stills|train_parts|test_part|weights|jitter\..*|lr_schedule|weight_decay|batch_images"
    rf"|val_fraction|{TRAINED})|fusion\.\w+\.folds"
    rf"|train_temporal\.\w+_b\.(hidden|descriptor|layers|bidirectional|dropout|augment_\w+|weight_decay|{TRAINED})",
    "javanese": r"sample\..*|ingest\.(dataset|root|min_clips|subjects.*)|track\.max_gap_frames|evaluate\.title"
    r"|finetune_vgg\.(images|test_part|learning_rate|epochs)|finetune_c3d\.\w+\.(uniform_epochs|epochs)"
    r"|training\.seeds|train_temporal\.\w+\.(hidden|patience)"
    r"|train_temporal\.\w+_b\.(descriptor|layers|bidirectional|dropout|augment_\w+|weight_decay|learning_rate)",
}
"""Keys in which the file for a data set differs from params.yaml on purpose."""


@pytest.mark.parametrize("name", INTENDED)
def test_parameter_files_differ_where_they_are_meant_to(name):
    ours, theirs = (leaves(yaml.safe_load(p.read_text())) for p in (FILES[0], REPOSITORY / "params" / f"{name}.yaml"))
    other = {key for key in ours.keys() | theirs.keys() if ours.get(key, "_") != theirs.get(key, "_")}
    assert sorted(key for key in other if not re.fullmatch(INTENDED[name], key)) == []
    assert other
