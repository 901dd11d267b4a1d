"""Stage `train_ensemble@<name>`: several models per modality, joined by one of the fusions."""

import sys
from pathlib import Path

from emotion_pipeline.data.manifest import read_manifest
from emotion_pipeline.fusion.seeds import fuse_ensemble
from emotion_pipeline.params import Params, RuntimeParams
from emotion_pipeline.run.keys import hashes_of, keys_of_named, note_keys
from emotion_pipeline.run.stage import run_stage


def main(name: Path, ingest: Path, temporal: Path, out: Path, params: Params, runtime: RuntimeParams) -> None:
    """Scores and descriptors of the members -> for each seed one score vector per clip."""
    ensemble = params.train_ensemble[name.name]
    fusion = getattr(params.train_fusion, ensemble.fusion)
    clips = read_manifest(ingest / "clips.csv")
    keys = fuse_ensemble(clips, temporal, ensemble, fusion, params.training.seeds, out, runtime.device)
    note_keys(keys_of_named(out), fuse_ensemble.__module__, keys, hashes_of(out))


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], section=lambda params: params)
