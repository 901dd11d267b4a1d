"""Stage `train_temporal@<model>`: a model over one modality's features; scores and a descriptor per clip."""

import sys
from pathlib import Path

from emotion_pipeline.data.manifest import read_manifest
from emotion_pipeline.params import Params
from emotion_pipeline.run.keys import note_outputs
from emotion_pipeline.run.stage import run_stage
from emotion_pipeline.temporal.train import Job, train_temporal


def main(name: Path, ingest: Path, features: Path, models: Path, out: Path, params: Params) -> None:
    """Features of every clip -> for each seed a trained model, scores.h5, history.csv; if wanted, refitted with val."""
    clips, model = read_manifest(ingest / "clips.csv"), params.train_temporal[name.name]
    job = Job(name.name, clips, features, model, out, models, params.runtime.device)
    keys = train_temporal(job, params.training.seeds)
    note_outputs([out, models], train_temporal.__module__, keys)


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], outs=2)
