"""Names that one section takes from another, and seeds: a mistake is named before anything runs."""

from pathlib import Path

import pytest
import yaml

from emotion_pipeline.errors import UserError
from emotion_pipeline.params import load_params
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("training", "seeds"), [1, 1], r"training\.seeds: a seed is there twice, got \[1, 1\]"),
        (("training", "seeds"), [], r"training\.seeds: "),
        (
            ("train_ensemble", "submission_2", "members"),
            ["vgg_lstm", "nobody"],
            r"train_ensemble\.submission_2\.members: 'nobody' is not among .*vgg_lstm",
        ),
        (
            ("train_ensemble", "submission_7", "members"),
            ["vgg_lstm_bidirectional"],
            r"submission_7\.members with trained_on: train_val: 'vgg_lstm_bidirectional' is not among .*audio_mlp",
        ),
        (("train_ensemble", "submission_2", "fusion"), "magic", r"submission_2\.fusion: 'magic' is not among majority"),
        (
            ("train_fusion", "mean", "models"),
            ["vgg_lstm", "audio_svm"],
            r"train_fusion\.mean\.models\.1: .*'audio_svm'",
        ),
        (("train_temporal", "vgg_lstm", "model"), "gru", r"train_temporal\.vgg_lstm: .*'gru'.*'scores', 'lstm'"),
        (("leave_one_out", "subjects"), ["../x"], r"leave_one_out\.subjects\.0: "),
    ],
)
def test_a_wrong_name_is_refused_by_its_key(tmp_path: Path, keys, value, message):
    whole = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    section = whole
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(whole))
    with pytest.raises(UserError, match=message) as caught:
        load_params(tmp_path / "params.yaml")
    assert "Value error" not in str(caught.value)
    assert len(str(caught.value)) < 600
