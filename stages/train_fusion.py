"""Stage `train_fusion@<method>`: join the modalities."""

import sys
from pathlib import Path

from emotion_pipeline.clips import read_manifest
from emotion_pipeline.fusion.train import train_fusion
from emotion_pipeline.params import RuntimeParams, TrainFusionParams
from emotion_pipeline.stage import run_stage


def main(
    name: Path, ingest: Path, temporal: Path, out: Path, params: TrainFusionParams, runtime: RuntimeParams
) -> None:
    """Scores and descriptors of the models -> one score vector per clip."""
    train_fusion(
        name.name, read_manifest(ingest / "clips.csv"), temporal, getattr(params, name.name), out, runtime.device
    )


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], section=lambda params: params.train_fusion)
