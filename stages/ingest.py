"""Stage `ingest`: the data set's folder becomes the checked manifest."""

import sys
from pathlib import Path

from emotion_pipeline.datasets.ingest import ingest
from emotion_pipeline.params import Params
from emotion_pipeline.run.keys import note_outputs
from emotion_pipeline.run.stage import run_stage


def main(root: Path, out: Path, params: Params) -> None:
    """The data set's folder -> clips.csv, failures.csv, classes.csv."""
    ingest(root, out, params.ingest, params.runtime)
    note_outputs([out], ingest.__module__, {})


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:])
