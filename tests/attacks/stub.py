"""A small DVC project of two stages that compute nothing, but run, keep and reuse as all stages do."""

import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from emotion_pipeline.data.artifact import Artifact, atomic
from emotion_pipeline.data.manifest import Clip, write_failures, write_manifest
from emotion_pipeline.data.tables import write_rows
from emotion_pipeline.params import Params, TrackParams
from emotion_pipeline.run import disk
from emotion_pipeline.run.fingerprint import digest
from emotion_pipeline.run.keys import note_outputs
from emotion_pipeline.run.perclip import ClipWork, run_per_clip
from emotion_pipeline.run.stage import run_stage
from emotion_pipeline.run.store import made_once
from tests.clone import Clone
from tests.conftest import REPOSITORY

CLIPS, MEBIBYTES, NETWORK_MEBIBYTES = 8, 5, 6
SPARE_MEBIBYTES = 8
"""Instead of the 256 that a stage wants to be free."""


def noise(files: Sequence[Path], params: TrackParams) -> Artifact:
    """Much that no file system makes smaller."""
    time.sleep(0.3)
    data = np.random.default_rng(int(files[0].read_text())).bytes(MEBIBYTES * 2**20)
    return Artifact({"value": np.frombuffer(data, np.uint8)})


def clips(ingest: Path, raw: Path, out: Path, params: Params) -> None:
    """A per-clip stage."""
    compute = partial(noise, params=params.track)
    run_per_clip(ClipWork(compute, ingest, lambda clip: [raw / clip.path], out, params.track, params.runtime))


def network(made: Path, model: Path, out: Path, params: Params) -> None:
    """A training: three epochs, each with a checkpoint."""
    data = np.random.default_rng(1).bytes(NETWORK_MEBIBYTES * 2**20)

    def make(file: Path, checkpoint: Path) -> None:
        for _ in range(3):
            time.sleep(0.8)
            with atomic(checkpoint) as temporary:
                temporary.write_bytes(data)
        file.write_bytes(data)

    key = digest([sorted(path.name for path in made.iterdir()), params.track.model_dump(mode="json")])
    made_once(key, model, make, out)
    write_rows(out / "history.csv", [("epoch",), (1,), (2,), (3,)])
    note_outputs([out, model], __name__, {model: key})


def main() -> None:
    """`clips` or `network`, and its paths."""
    disk.SPARE_BYTES = SPARE_MEBIBYTES * 2**20
    name, *paths = sys.argv[1:]
    stage, outs = {"clips": (clips, 1), "network": (network, 2)}[name]
    run_stage(stage, *paths, outs=outs)


CODE = "from tests.attacks.stub import main; main()"
STAGES = {
    "clips": (["data/ingest", "data/raw"], ["data/clips"]),
    "network": (["data/clips"], ["data/models/network.safetensors", "data/network"]),
}
"""By name: what it reads, and what it writes."""


def new_project(folder: Path) -> Clone:
    """The project, nothing computed, with a DVC of its own."""
    project = Clone(folder / "project")
    project.environment["PYTHONPATH"] = str(REPOSITORY)
    manifest = [Clip(f"clip_{k}", f"{k}.txt", "train", "happy", "") for k in range(CLIPS)]
    for name in ("ingest", "raw", "keys"):
        (project.folder / "data" / name).mkdir(parents=True)
    for k in range(CLIPS):
        (project.folder / f"data/raw/{k}.txt").write_text(str(k))
    write_manifest(project.folder / "data/ingest/clips.csv", manifest)
    write_failures(project.folder / "data/ingest", {})
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["runtime"] |= {"workers": 2}
    (project.folder / "params.yaml").write_text(yaml.safe_dump(params))
    stages = {
        name: {
            "cmd": f'exec python -c "{CODE}" {" ".join([name, *deps, *outs])}',
            "deps": deps,
            "params": ["track"],
            "outs": [*outs, f"data/keys/{name}.json"],
        }
        for name, (deps, outs) in STAGES.items()
    }
    (project.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    project.run("dvc", "init", "-q", "--no-scm")
    project.run("dvc", "config", "core.analytics", "false")
    return project


def stage_command(name: str) -> list[str]:
    """The command of a stage without DVC."""
    deps, outs = STAGES[name]
    return [sys.executable, "-c", CODE, name, *deps, *outs]
