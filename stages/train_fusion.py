"""Stage `train_fusion@<method>`: join the modalities."""

import sys
from pathlib import Path

from emotion_pipeline.data.manifest import read_manifest
from emotion_pipeline.fusion.seeds import fuse_seeds
from emotion_pipeline.params import Params, RuntimeParams
from emotion_pipeline.run.keys import hashes_of, keys_of_named, note_keys
from emotion_pipeline.run.stage import run_stage


def main(name: Path, ingest: Path, temporal: Path, out: Path, params: Params, runtime: RuntimeParams) -> None:
    """Scores and descriptors of the models -> for each seed one score vector per clip."""
    fusion = getattr(params.train_fusion, name.name)
    clips = read_manifest(ingest / "clips.csv")
    keys = fuse_seeds(name.name, clips, temporal, fusion, params.training.seeds, out, runtime.device)
    note_keys(keys_of_named(out), fuse_seeds.__module__, keys, hashes_of(out))


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], section=lambda params: params)
