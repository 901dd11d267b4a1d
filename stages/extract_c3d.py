"""Stage `extract_c3d@<network>`: the second fully connected layer and scores of every window of 16 faces."""

import sys
from pathlib import Path

from emotion_pipeline.features.extract import extract_c3d
from emotion_pipeline.params import ExtractC3dParams, RuntimeParams
from emotion_pipeline.stage import run_stage


def main(
    name: Path,
    ingest: Path,
    track: Path,
    network: Path,
    out: Path,
    params: dict[str, ExtractC3dParams],
    runtime: RuntimeParams,
) -> None:
    """Aligned faces and the fine-tuned network -> features per window."""
    extract_c3d(ingest, track, network, out, params[name.name], runtime)


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:], section=lambda params: params.extract_c3d)
