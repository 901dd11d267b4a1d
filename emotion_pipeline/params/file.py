"""The whole of `params.yaml` and of `params/search.yaml`, and their only reader.

No field has a default: the file is the one place. Unknown and missing keys are refused by their full name.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError, model_validator

from emotion_pipeline.errors import UserError
from emotion_pipeline.params import extraction, models
from emotion_pipeline.params.base import Count, Fraction, Name, Positive, Section, WholeNumber

S = TypeVar("S", bound=Section)

Scalar = bool | int | float | str | None
Value = Scalar | tuple[Scalar, ...]
Grid = dict[str, tuple[Value, ...]]

RENAMED = {
    "keep_probability": "`dropout` (1 - keep_probability)",
    "course": "`lr_schedule`",
    "held_out": "`val_fraction`",
    "rectified": "`relu`",
    "take": "`pooling`",
    "temperature": "`temperature_first`, `temperature_factor`, `temperature_last`",
    "gamma": "`gamma_first`, `gamma_factor`",
    "fit": "its keys, which stand in the model itself (`learning_rate`, `epochs` ...)",
    "augment": "`augment_shortest`, `augment_stretch`, `augment_flip`",
    "members": "`models`",
    "train_fusion": "the section `fusion`",
    "train_ensemble": "the section `fusion`",
    "leave_one_out": "`ingest.test_subject` (docs/experiments.md)",
    "search": "the file params/search.yaml",
}
"""Keys of earlier versions, and what they are called now."""


KINDS = {"scores", "lstm", "perceptron", "svm", "majority", "mean", "max", "weighted_mean", "moddrop", "score_tree"}
"""Values of `model` and `method`."""


class EvaluateParams(Section):
    """The report."""

    title: str  # what was run, for the page's head
    bootstrap_samples: Count  # for the 95 % intervals
    seed: WholeNumber


class RuntimeParams(Section):
    """How to run: nothing here is part of a key, or makes DVC run a stage again. Last bits may change."""

    workers: WholeNumber  # processes for per-clip work; 0: one per core
    device: str  # auto, cpu, cuda, cuda:1 ...
    batch: Count  # faces or windows sent through a network at once
    max_failed: Fraction  # share of clips that may fail before a stage stops
    clip_seconds: Positive  # longest time for one clip in one stage

    @property
    def processes(self) -> int:
        """Number of processes for per-clip work."""
        return self.workers or len(os.sched_getaffinity(0))


class Params(Section):
    """The whole file."""

    sample: extraction.SampleParams
    ingest: extraction.IngestParams
    detect: extraction.DetectParams
    align: extraction.AlignParams
    track: extraction.TrackParams
    quality: extraction.QualityParams
    gallery: extraction.GalleryParams
    finetune_vgg: extraction.FinetuneVggParams
    extract_vgg: extraction.ExtractVggParams
    finetune_c3d: dict[Name, extraction.FinetuneC3dParams]  # by network
    extract_c3d: dict[Name, extraction.ExtractC3dParams]  # by network
    extract_audio: extraction.ExtractAudioParams
    training: models.TrainingParams
    train_temporal: dict[Name, models.TemporalParams]  # by model
    fusion: dict[Name, models.FusionParams]  # by fusion: stage fuse@<name>
    evaluate: EvaluateParams
    runtime: RuntimeParams

    @model_validator(mode="after")
    def _known(self) -> "Params":
        """Check that every name that one section takes from another is there."""
        _require("extract_c3d", self.extract_c3d, self.finetune_c3d)
        for name, model in self.train_temporal.items():
            stage, _, network = model.features.partition("/")
            if stage == "extract_c3d":
                _require(f"train_temporal.{name}.features: extract_c3d/", [network], self.extract_c3d)
        refitted = [name for name, model in self.train_temporal.items() if model.refit]
        for name, fusion in self.fusion.items():
            _require(f"fusion.{name}.models", fusion.models, self.train_temporal)
            if fusion.trained_on == "train_val":
                _require(f"fusion.{name}.models with trained_on: train_val", fusion.models, refitted)
        return self


def _require(key: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{key}: {name!r} is not among {', '.join(known)}")


class SearchParams(Section):
    """The values that a search tries, by model and key. No stage depends on them."""

    seed: WholeNumber  # of the order in which a grid's points are tried
    train_temporal: dict[Name, Grid]
    fusion: dict[Name, Grid]


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Return the checked file. Raises UserError with one line per wrong key."""
    return _read(path, Params)


def load_search(path: Path = Path("params/search.yaml")) -> SearchParams:
    """Return the checked file. Raises UserError with one line per wrong key."""
    return _read(path, SearchParams)


def _read(path: Path, record: type[S]) -> S:
    try:
        return record.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run this from the repository's root") from None
    except ValidationError as error:
        raise UserError("\n".join(f"{path}: {_line(e)}" for e in error.errors())) from None
    except (yaml.YAMLError, ValueError) as error:  # bytes that are no text, numbers of thousands of digits
        raise UserError(f"{path}: not valid YAML ({error})") from error


def _line(error: Any) -> str:
    """Return one line on one of pydantic's errors: the key, what is wrong, the value, what to do."""
    section, *path = error["loc"] or ("the file",)
    if len(path) > 2 and path[1] in KINDS:
        del path[1]  # pydantic names the kind of a model, which is no key of the file
    key = ".".join(map(str, [section, *path]))
    if error["type"] == "extra_forbidden":
        if new := RENAMED.get(str(error["loc"][-1])):
            return f"{key}: this key has a new name, {new}; see params/ for complete files"
        return f"{key}: unknown key (value {error['input']!r}); remove it or correct its name"
    if error["type"] == "missing":
        return f"{key}: missing; add it (params/ has complete files)"
    if error["type"] == "value_error":  # a validator's own message
        own = str(error["ctx"]["error"])
        return f"{key}: {own}" if error["loc"] else own
    return f"{key}: {error['msg']}, got {shorten(repr(error['input']), 200)}"
