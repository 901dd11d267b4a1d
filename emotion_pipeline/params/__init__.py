"""`params.yaml` as frozen records: every number that a run depends on, its unit or range in the type.

No field has a default (`params.yaml` is the one place), unknown and missing keys are refused by their full name.
This module is the file's only reader.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from emotion_pipeline.errors import UserError
from emotion_pipeline.params.base import Count, Fraction, Name, Positive, Section, WholeNumber
from emotion_pipeline.params.extraction import (
    AlignParams,
    DetectParams,
    ExtractAudioParams,
    ExtractC3dParams,
    ExtractVggParams,
    FinetuneC3dParams,
    FinetuneVggParams,
    GalleryParams,
    IngestParams,
    JitterParams,
    QualityParams,
    SampleParams,
    SubjectCounts,
    SubjectSplit,
    TemperatureParams,
    TrackParams,
)
from emotion_pipeline.params.models import (
    AugmentParams,
    EnsembleParams,
    FitParams,
    GammaParams,
    LstmParams,
    MlpParams,
    ModDropParams,
    ModelParams,
    ScoreFusionParams,
    ScoresParams,
    ScoreTreeParams,
    SvmFusionParams,
    SvmParams,
    TemporalParams,
    TrainFusionParams,
    TrainingParams,
    WeightedMeanParams,
)

__all__ = [
    "AlignParams",
    "AugmentParams",
    "DetectParams",
    "EnsembleParams",
    "EvaluateParams",
    "ExtractAudioParams",
    "ExtractC3dParams",
    "ExtractVggParams",
    "FinetuneC3dParams",
    "FinetuneVggParams",
    "FitParams",
    "GalleryParams",
    "GammaParams",
    "IngestParams",
    "JitterParams",
    "LeaveOneOutParams",
    "LstmParams",
    "MlpParams",
    "ModDropParams",
    "ModelParams",
    "Params",
    "QualityParams",
    "RuntimeParams",
    "SampleParams",
    "ScoreFusionParams",
    "ScoreTreeParams",
    "ScoresParams",
    "Section",
    "SubjectCounts",
    "SubjectSplit",
    "SvmFusionParams",
    "SvmParams",
    "TemperatureParams",
    "TemporalParams",
    "TrackParams",
    "TrainFusionParams",
    "TrainingParams",
    "WeightedMeanParams",
    "load_params",
    "read_yaml",
]


S = TypeVar("S", bound=Section)


class LeaveOneOutParams(Section):
    """Accuracy for people of whom the models have seen nothing, one after the other."""

    subjects: tuple[Annotated[str, Field(pattern=r"^[\w-]+$")], ...]  # each is the test split once, the next one val


class EvaluateParams(Section):
    """The report."""

    title: str  # what was run, for the page's head
    bootstrap_samples: Count  # for the 95 % intervals
    seed: WholeNumber


class RuntimeParams(Section):
    """How to run: nothing here changes a number, is part of a key, or makes DVC run a stage again."""

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

    sample: SampleParams
    ingest: IngestParams
    detect: DetectParams
    align: AlignParams
    track: TrackParams
    quality: QualityParams
    gallery: GalleryParams
    finetune_vgg: FinetuneVggParams
    extract_vgg: ExtractVggParams
    finetune_c3d: dict[Name, FinetuneC3dParams]  # by network
    extract_c3d: dict[Name, ExtractC3dParams]  # by network
    extract_audio: ExtractAudioParams
    training: TrainingParams
    train_temporal: dict[Name, TemporalParams]  # by model
    train_fusion: TrainFusionParams
    train_ensemble: dict[Name, EnsembleParams]
    leave_one_out: LeaveOneOutParams
    evaluate: EvaluateParams
    runtime: RuntimeParams

    @model_validator(mode="after")
    def _known(self) -> "Params":
        """Every name that one section takes from another is there."""
        for name, ensemble in self.train_ensemble.items():
            key = f"train_ensemble.{name}"
            _require(f"{key}.fusion", [ensemble.fusion], type(self.train_fusion).model_fields)
            _require(f"{key}.members", ensemble.members, self.train_temporal)
            if ensemble.trained_on == "train_val":
                refitted = [member for member, model in self.train_temporal.items() if model.refit]
                _require(f"{key}.members with trained_on: train_val", ensemble.members, refitted)
        for name in type(self.train_fusion).model_fields:
            _require(f"train_fusion.{name}.models", getattr(self.train_fusion, name).models, self.train_temporal)
        return self


def _require(key: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{key}: {name!r} is not among {', '.join(known)}")


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check the file. Raises UserError with one line per wrong key."""
    return read_yaml(path, Params)


def read_yaml(path: Path, model: type[S]) -> S:
    """Return a YAML file as a frozen record. Raises UserError with one line per wrong key."""
    try:
        return model.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stages from the repository's root") from None
    except ValidationError as error:
        raise UserError("\n".join(f"{path}: {_line(e)}" for e in error.errors())) from None
    except (yaml.YAMLError, ValueError) as error:  # bytes that are no text, numbers of thousands of digits
        raise UserError(f"{path}: not valid YAML ({error})") from error


def _line(error) -> str:  # type: ignore[no-untyped-def]  # pydantic's ErrorDetails
    key = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key (value {error['input']!r}); remove it or correct its name"
    if error["type"] == "missing":
        return f"{key}: missing; add it (params/ has complete files)"
    if error["type"] == "value_error":  # a validator's own message
        own = str(error["ctx"]["error"])
        return f"{key}: {own}" if error["loc"] else own
    return f"{key}: {error['msg']}, got {error['input']!r}"
