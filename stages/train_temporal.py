"""Stage `train_temporal@<model>`: a model over one modality's features; scores and a descriptor per clip."""

import sys
from pathlib import Path

from emotion_pipeline.clips import read_manifest
from emotion_pipeline.params import RuntimeParams, TrainTemporalParams
from emotion_pipeline.stage import run_stage
from emotion_pipeline.temporal.train import train_temporal


def main(
    name: Path, ingest: Path, features: Path, out: Path, params: TrainTemporalParams, runtime: RuntimeParams
) -> None:
    """Features of every clip -> trained model, scores.h5, history.csv."""
    train_temporal(
        name.name, read_manifest(ingest / "clips.csv"), features, getattr(params, name.name), out, runtime.device
    )


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], section=lambda params: params.train_temporal)
