"""Stage `ingest`: the data set's folder becomes the checked manifest."""

import sys

from emotion_pipeline.datasets.ingest import ingest as main
from emotion_pipeline.stage import run_stage

if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], section=lambda params: params.ingest)
