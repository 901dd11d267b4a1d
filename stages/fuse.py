"""Stage `fuse@<name>`: join the modalities by one entry of the section `fusion`."""

import sys
from pathlib import Path

from emotion_pipeline.data.manifest import read_manifest
from emotion_pipeline.fusion.train import fuse
from emotion_pipeline.params import Params
from emotion_pipeline.run.keys import note_outputs
from emotion_pipeline.run.stage import run_stage


def main(name: Path, ingest: Path, temporal: Path, models: Path, out: Path, params: Params) -> None:
    """Scores and descriptors of the temporal models -> for each seed the fusion, and scores of every clip."""
    clips, fusion, seeds = read_manifest(ingest / "clips.csv"), params.fusion[name.name], params.training.seeds
    keys = fuse(name.name, clips, temporal, fusion, seeds, out, models, params.runtime.device)
    note_outputs([out, models], fuse.__module__, keys)


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], outs=2)
