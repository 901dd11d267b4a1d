"""A clone of this repository with parameters so small that everything runs through DVC in a minute or two."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.conftest import REPOSITORY

PER_CLIP = ("detect", "align", "track", "quality", "extract_vgg", "extract_audio")
PER_CLIP += tuple(f"extract_c3d/{network}" for network in ("weighted", "central", "random"))
"""Stages that work clip by clip, as their lines in the log name them."""

MODELS = ("vgg_maximum", "vgg_lstm", "c3d_central", "c3d_weighted_overlap0", "c3d_lstm", "c3d_lstm_overlap8")
MODELS += ("audio_mlp", "audio_svm")
FUSIONS = ("mean", "svm", "weighted_mean", "submission_3", "submission_4", "submission_7")
"""What the runs here train: a part of params.yaml, so that they are short."""


def small(params: dict) -> dict:
    """The parameters of a run that takes a few minutes."""
    params = json.loads(json.dumps(params))  # sections that are one object in YAML, no longer are
    params["sample"] |= {
        "subjects": {"train": 1, "val": 1, "test": 1},
        "emotions_per_subject": 7,
        "stills_per_emotion": 10,
    }
    params["ingest"] |= {"dataset": "csv", "root": "data/raw/clips", "min_clips": 20}
    params["finetune_vgg"] |= {"width": 0.03125, "epochs": 1, "weights": None}
    for network in params["finetune_c3d"].values():
        network |= {"width": 0.03125, "epochs": 2, "uniform_epochs": 1}
    params["extract_c3d"]["weighted"]["overlaps"] = [0, 8]
    params["train_temporal"] = {name: params["train_temporal"][name] for name in MODELS}
    params["fusion"] = {name: params["fusion"][name] for name in FUSIONS}
    params["fusion"]["submission_7"]["models"] = ["vgg_lstm", "audio_mlp"]
    params["training"]["seeds"] = [1, 2]
    for entry in (*params["train_temporal"].values(), *params["fusion"].values()):
        if "epochs" in entry:
            entry["epochs"] = 2
        if entry.get("model") == "lstm":
            entry["hidden"] = 8
        if "folds" in entry:
            entry["folds"] = 2
        if "steps" in entry:
            entry["steps"] = 4
    params["evaluate"]["bootstrap_samples"] = 50
    return params


class Clone:
    """A clone of this repository's working tree in a folder of its own."""

    def __init__(self, folder: Path, limit_s: float = 540):
        self.folder, self.limit_s = folder, limit_s
        ours = ("DVC_", "EMOTION_PIPELINE_", "OMP_")  # stages run as users run them, with all threads
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{self.environment['PATH']}"
        self.environment["DVC_SITE_CACHE_DIR"] = str(folder.parent / "site")

    def run(self, *command: str, status: int = 0) -> str:
        """Run a command in the clone; its whole output. Fails where the exit status is another."""
        run = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False,
            timeout=self.limit_s,
        )  # fmt: skip
        assert run.returncode == status, run.stdout[-3000:] + run.stderr[-3000:]
        return run.stdout + run.stderr

    def command(self, *words: str, status: int = 0) -> str:
        """Run a command of `python -m emotion_pipeline`."""
        return self.run(sys.executable, "-m", "emotion_pipeline", *words, status=status)

    def repro(self) -> str:
        return self.run("dvc", "repro")

    def edit(self, *keys: str | int, value: object) -> None:
        """Set one value of params.yaml."""
        file = self.folder / "params.yaml"
        whole = section = yaml.safe_load(file.read_text())
        for key in keys[:-1]:
            section = section[key]
        section[keys[-1]] = value
        file.write_text(yaml.safe_dump(whole, sort_keys=False))

    def summaries(self, output: str) -> dict[str, str]:
        """Stage -> the counts in its last line."""
        lines = [line.split(": ", 2) for line in output.splitlines() if " computed, " in line]
        return {stage: counts for stage, _, counts in lines}

    def outputs(self) -> dict[str, str]:
        """Path -> MD5 of every output, as DVC has locked them."""
        stages = yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"]
        return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}

    def add_clip(self, name: str = "added") -> None:
        """One more clip, without a label and in no split."""
        raw = self.folder / "data/raw/clips"
        first = sorted(p for p in raw.rglob("*") if p.suffix in {".mp4", ".avi", ".mkv"} and "odd" not in p.name)[0]
        # Other bytes, same pictures: a second MP4 box or some bytes behind the last packet change the file's hash.
        (raw / f"{name}{first.suffix}").write_bytes(first.read_bytes() + b"\0\0\0\x08free")
        with open(raw / "clips.csv", "a") as table:
            table.write(f"{name},{name}{first.suffix},,,\n")


def new_clone(folder: Path) -> Clone:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        if (REPOSITORY / name).is_file() and name not in {"dvc.lock", "reports/metrics.json"}:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, folder / name)
    params = small(yaml.safe_load((REPOSITORY / "params.yaml").read_text()))
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    clone = Clone(folder)
    for command in (
        ["git", "init", "-q"],
        ["git", "config", "user.email", "someone@example.org"],
        ["git", "config", "user.name", "Someone"],
    ):
        clone.run(*command)
    return clone
