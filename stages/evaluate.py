"""Stage `evaluate`: the accuracy of every model and fusion, and the report."""

import sys
from pathlib import Path

from emotion_pipeline.params import Params
from emotion_pipeline.report.evaluate import evaluate
from emotion_pipeline.run.keys import note_keys
from emotion_pipeline.run.stage import run_stage


def main(data: Path, reports: Path, params: Params) -> None:
    """The folders of all stages -> metrics.json, csv files, report.html."""
    evaluate(data, reports, params)
    note_keys(data / "evaluate", evaluate.__module__, {}, {})


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:])
