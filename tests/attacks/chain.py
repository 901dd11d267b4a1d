"""A chain of all stages that compute per clip or train, on a few clips: once through takes about a minute."""

import csv
import shutil
from pathlib import Path

import yaml

from tests.clone import Clone, new_clone

CLIPS = (
    *("odd_short_1", "odd_no_sound_1", "odd_no_face_1", "odd_black_start_1", "odd_cut_1", "odd_cut_2", "odd_short_2"),
    *("train_01_angry_1", "train_01_disgust_1", "val_01_angry_1", "val_01_disgust_1"),
)
MODELS = ("vgg_lstm", "c3d_lstm", "audio_mlp")
FUSIONS = {"on_train": "train", "on_train_val": "train_val"}
"""By name: the labels that ModDrop is trained on."""

STAGES = (
    *("detect", "align", "track", "quality", "finetune_vgg", "extract_vgg", "finetune_c3d@weighted"),
    *("extract_c3d@weighted", "extract_audio", *(f"train_temporal@{model}" for model in MODELS)),
    *(f"fuse@{fusion}" for fusion in FUSIONS),
)
"""All per-clip and training stages, as `dvc` names them."""


def short_chain(folder: Path) -> Clone:
    """A clone in `folder`/chain with raw data and nothing computed."""
    sample = new_clone(folder / "sample")
    sample.edit("sample", "emotions_per_subject", value=2)
    sample.edit("sample", "stills_per_emotion", value=4)
    sample.run("dvc", "repro", "sample")
    chain = new_clone(folder / "chain")
    made, raw = sample.folder / "data/raw", chain.folder / "data/raw"
    shutil.copytree(made / "stills", raw / "stills", dirs_exist_ok=True)
    with open(made / "sample/clips.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["clip_id"] in CLIPS]
    for row in rows:
        (raw / "clips" / row["path"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made / "sample" / row["path"], raw / "clips" / row["path"])
    with open(raw / "clips/clips.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    _shorten(chain)
    return chain


def _shorten(chain: Clone) -> None:
    """Leave one network, three models and two fusions, each with a few epochs, and no report."""
    pipeline = yaml.safe_load((chain.folder / "dvc.yaml").read_text())
    stages = {name: stage for name, stage in pipeline["stages"].items() if name not in ("sample", "evaluate")}
    (chain.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    params = yaml.safe_load((chain.folder / "params.yaml").read_text())
    kept = {"finetune_c3d": ["weighted"], "extract_c3d": ["weighted"], "train_temporal": MODELS}
    params |= {section: {name: params[section][name] for name in names} for section, names in kept.items()}
    params["ingest"]["min_clips"] = len(CLIPS)
    params["runtime"] |= {"workers": 2, "max_failed": 1.0}
    params["training"]["seeds"] = [1]
    params["finetune_vgg"]["epochs"] = 3
    params["finetune_c3d"]["weighted"]["epochs"] = 3
    moddrop = params["fusion"]["submission_3"] | {"models": list(MODELS)}
    params["fusion"] = {name: moddrop | {"trained_on": splits} for name, splits in FUSIONS.items()}
    for trained in (*params["train_temporal"].values(), *params["fusion"].values()):
        trained |= {key: 60 for key in ("epochs", "patience") if key in trained}
    (chain.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
