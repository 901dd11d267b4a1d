"""The command line of a search: what it answers before anything is trained."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["optuna"] = sys.modules["matplotlib"] = None  # seconds, to import
sys.argv[1:1] = ["search"]
from emotion_pipeline.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train_temporal.vgg_lsmt"], "train_temporal.vgg_lsmt: no such model or fusion; there are train_temporal.vgg"),
        (["fusion.submission_7"], "search.yaml: fusion.submission_7: nothing to try"),
        (["fusion.svm", "--trials", "0"], "Invalid value for '--trials': Input should be greater than or equal to 1"),
        (["fusion.svm", "--workers", "two"], "Invalid value for '--workers': Input should be a valid integer"),
    ],
)
def test_a_wrong_argument_is_told_before_the_slow_imports(arguments, message):
    command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
