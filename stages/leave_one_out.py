"""Stage `leave_one_out@<subject>`: fine-tuning, features of windows, models and fusions with one subject as test."""

import sys
from pathlib import Path

from emotion_pipeline.leave_one_out import run_fold
from emotion_pipeline.params import Params, RuntimeParams
from emotion_pipeline.run.keys import hashes_of, keys_of_named, note_keys
from emotion_pipeline.run.stage import run_stage


def main(subject: Path, data: Path, out: Path, params: Params, runtime: RuntimeParams) -> None:
    """The face sequences and the sound of all clips -> scores of all models for this fold."""
    run_fold(subject.name, data, out, params, runtime)
    note_keys(keys_of_named(out), run_fold.__module__, {}, hashes_of(out))


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], section=lambda params: params)
