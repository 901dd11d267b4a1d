"""Everything behind the face sequences once more, with one subject's clips as the test split."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from emotion_pipeline.data.manifest import Clip, read_manifest, write_manifest
from emotion_pipeline.errors import UserError
from emotion_pipeline.features.extract import c3d_work, vgg_work
from emotion_pipeline.features.train import train_c3d, train_vgg
from emotion_pipeline.fusion.seeds import fuse_ensemble, fuse_seeds
from emotion_pipeline.params import Params, RuntimeParams
from emotion_pipeline.run.perclip import run_per_clip
from emotion_pipeline.temporal.seeds import train_model


def split_for(clips: Sequence[Clip], subject: str) -> list[Clip]:
    """The clips with a split, in those of one fold: `subject` is test, the next subject val, all others train.

    The next is by name, the first one after the last. Raises UserError where the fold cannot be made.
    """
    used = [clip for clip in clips if clip.split]
    unknown = sorted(clip.clip_id for clip in used if not clip.subject)
    if unknown:
        raise UserError(f"leave_one_out: nobody is named as the subject of clip {unknown[0]} ({len(unknown)} such)")
    subjects = sorted({clip.subject for clip in used})
    if subject not in subjects:
        raise UserError(f"leave_one_out.subjects: no clip shows {subject!r}; the subjects are {', '.join(subjects)}")
    if len(subjects) < 3:
        raise UserError(f"leave_one_out: {len(subjects)} subjects; three are needed: for train, val and test")
    following = subjects[(subjects.index(subject) + 1) % len(subjects)]
    split = dict.fromkeys(subjects, "train") | {following: "val", subject: "test"}
    return [replace(clip, split=split[clip.subject]) if clip.split else clip for clip in clips]


def run_fold(subject: str, data: Path, out: Path, params: Params, runtime: RuntimeParams) -> None:
    """Fine-tune, extract, train and fuse for one fold: `out`/ingest, /train_temporal, /train_fusion, /train_ensemble.

    Read from `data`: the manifest, the face sequences, the features of the sound, and those of the frames where their
    network has learnt nothing from the clips. All that takes long is kept in the store.
    """
    clips = split_for(read_manifest(data / "ingest" / "clips.csv"), subject)
    ingest, track, weights = out / "ingest", data / "track", data / "weights"
    ingest.mkdir(parents=True)
    write_manifest(ingest / "clips.csv", clips)
    shutil.copyfile(data / "ingest" / "failures.csv", ingest / "failures.csv")
    work = out / "features"
    for network, own in params.finetune_c3d.items():
        folder, file = work / f"finetune_c3d_{network}", work / f"finetune_c3d_{network}" / "network.safetensors"
        train_c3d(ingest, track, weights / "c3d", folder, own, runtime)
        features = work / f"extract_c3d_{network}"
        run_per_clip(c3d_work(ingest, track, file, features, params.extract_c3d[network], runtime))
    if params.finetune_vgg.images == "clips":
        train_vgg(ingest, track, weights / "vgg_face", work / "finetune_vgg", params.finetune_vgg, runtime)
        file = work / "finetune_vgg" / "network.safetensors"
        run_per_clip(vgg_work(ingest, track, file, work / "extract_vgg", params.extract_vgg, runtime))
    _train(clips, data, work, out, params)
    shutil.rmtree(work)


def _train(clips: Sequence[Clip], data: Path, work: Path, out: Path, params: Params) -> None:
    seeds, device, temporal = params.training.seeds, params.runtime.device, out / "train_temporal"
    for name, model in params.train_temporal.items():
        own = work / model.features
        features = own if own.is_dir() else data / model.features
        train_model(name, clips, features, model, seeds, temporal / name, device)
    for name in type(params.train_fusion).model_fields:
        fusion = getattr(params.train_fusion, name)
        fuse_seeds(name, clips, temporal, fusion, seeds, out / "train_fusion" / name, device)
    for name, ensemble in params.train_ensemble.items():
        fusion = getattr(params.train_fusion, ensemble.fusion)
        fuse_ensemble(clips, temporal, ensemble, fusion, seeds, out / "train_ensemble" / name, device)
