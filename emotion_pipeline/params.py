"""`params.yaml` as frozen records: every number that a run depends on, its unit or range in the type.

No field has a default (`params.yaml` is the one place), unknown and missing keys are refused by their full name.
This module is the file's only reader.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from emotion_pipeline.clips import UserError

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
WholeNumber = Annotated[int, Field(ge=0)]
Overlap = Annotated[int, Field(ge=0, le=15)]  # frames that neighbouring windows of 16 share
Name = Annotated[str, Field(pattern="^[a-z0-9_]+$")]  # of a model: part of a path

Modality = Literal["vgg_lstm", "c3d_lstm", "c3d_lstm_overlap8", "audio_mlp"]


class Section(BaseModel):
    """One section of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SubjectCounts(Section):
    """Number of generated performers per split."""

    train: Count
    val: Count
    test: Count


class SampleParams(Section):
    """The generated data set."""

    seed: WholeNumber
    subjects: SubjectCounts
    emotions_per_subject: Annotated[int, Field(ge=1, le=7)]  # the classes take turns over the subjects
    takes: Count  # clips per subject and emotion
    difficulty: Fraction  # 0 easy .. 1 hard
    stills_per_emotion: Count  # still faces in the FER2013 layout, per class


class SubjectSplit(Section):
    """Subjects by split, as they are written in the file names."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


class IngestParams(Section):
    """Where the clips are and how their folder is laid out."""

    dataset: Literal["sample", "javanese", "afew", "folder", "csv"]
    root: str  # folder of the data set, relative to the repository
    min_clips: WholeNumber  # fewer clips than this: the folder is only partly here
    subjects: SubjectSplit | None  # for layouts that name subjects but no split


class DetectParams(Section):
    """Face detection."""

    detector: Literal[
        "centerface",
        "yunet",
        "dlib_hog",
        "dlib_mmod",
        "fa_sfd",
        "fa_blazeface",
        "fa_yunet",
        "fa_scrfd",
        "fa_retinaface",
    ]
    threshold: float  # lowest detection score that counts
    scale: Annotated[float, Field(ge=0.1, le=8)]  # the pictures are searched at this share of their width and height


class AlignParams(Section):
    """Landmarks."""

    predictor: Literal["dlib_68", "fan_2d"]


class TrackParams(Section):
    """Linking boxes over time, smoothing, and the warp."""

    min_overlap: Fraction  # intersection over union between linked boxes
    max_distance: Positive  # of centres over box side, plus octaves of size; for boxes that overlap less
    max_gap_frames: WholeNumber  # frames without a detection that a track survives
    cut_threshold: Fraction  # a greater change of half of the picture, over its full range, is a cut: all tracks end
    gaps: Literal["interpolate", "leave"]  # what becomes of the frames in a gap of the chosen track
    smoothing_frames: NotNegative  # standard deviation of the Gaussian over time; 0: none
    margin: Annotated[float, Field(ge=0, le=1)]  # above the brows and below the chin, over the height between
    border: Literal["replicate", "black"]
    encoding: Literal["raw", "jpeg"]  # jpeg: quality 95, 4:4:4


class QualityParams(Section):
    """What is looked at to judge the faces."""

    sheet_frames: Annotated[int, Field(ge=2, le=20)]  # of each clip, on its contact sheet


class JitterParams(Section):
    """Random changes of the training images."""

    scale: Fraction  # factor drawn from [1 - scale, 1 + scale]
    rotation_degrees: Annotated[float, Field(ge=0, le=45)]
    flip: bool


class FinetuneVggParams(Section):
    """Fine-tuning VGG-Face on still faces, section 2.3."""

    images: Literal["stills", "clips", "none"]  # FER2013, or frames of the labelled clips; none: `weights` as they are
    stills: str  # fer2013.csv, or a folder <part>/<class>/<file>
    train_parts: tuple[str, ...]  # parts of the stills that are trained on
    test_part: str | None  # part of the stills on which accuracy is measured
    film_frames: str  # folder <class>/<file> (as SFEW) on which accuracy is measured, too, where it holds any
    margin: Annotated[float, Field(ge=0, le=1)]  # of the aligned stills, as track.margin
    frames_per_clip: Count  # with images: clips
    weights: str | None  # file in data/weights/vgg_face; null: random start
    width: Annotated[float, Field(gt=0, le=1)]  # of every layer, 1 = VGG-16
    pixels: Annotated[int, Field(ge=32, le=224, multiple_of=32)]  # side of the input of a network that starts at random
    grey: bool  # the network sees grey pictures: right where all that it ever learnt from was grey
    keep_probability: Annotated[float, Field(gt=0, le=1)]  # of the last layer's inputs
    jitter: JitterParams
    learning_rate: Positive
    course: Literal["constant", "cosine"]  # of the learning rate over the epochs; cosine: falls to 0
    weight_decay: NotNegative
    batch_images: Count
    epochs: Count
    patience: Count  # epochs without a higher held-out accuracy
    held_out: Annotated[float, Field(gt=0, lt=1)]  # part of the training images
    seed: WholeNumber


class ExtractVggParams(Section):
    """fc6 of every face."""

    rectified: bool  # after the rectifier, or before
    flipped: bool  # of the mirrored faces, too


class TemperatureParams(Section):
    """T(t) = max(last, first * factor ** t) of equation 1, t counted from the first weighted epoch."""

    first: Positive
    factor: Annotated[float, Field(gt=0, le=1)]
    last: Positive


class FinetuneC3dParams(Section):
    """Fine-tuning C3D on windows of 16 faces, section 2.4."""

    windows: Literal["central", "random", "all", "weighted", "maximum"]
    overlap: Overlap  # of the training windows
    uniform_epochs: WholeNumber  # epochs before the weights of equation 1 begin
    temperature: TemperatureParams
    weights: str | None  # file in data/weights/c3d; null: random start
    width: Annotated[float, Field(gt=0, le=1)]
    keep_probability: Annotated[float, Field(gt=0, le=1)]
    flip: bool
    learning_rate: Positive
    course: Literal["constant", "cosine"]  # as finetune_vgg.course
    weight_decay: NotNegative
    batch_windows: Count
    epochs: Count
    patience: Count  # epochs without a higher accuracy over the clips of val
    seed: WholeNumber


class ExtractC3dParams(Section):
    """The second fully connected layer of every window."""

    overlaps: tuple[Overlap, ...]
    rectified: bool
    flipped: bool  # of the mirrored faces, too


class ExtractAudioParams(Section):
    """openSMILE functionals of a clip's sound."""

    feature_set: str  # emobase2010, IS10, or the path of a configuration file
    sample_rate: Count  # Hz; the sound is resampled to it


class TrainingParams(Section):
    """What the trainings of temporal models, fusions and ensembles share."""

    seeds: Annotated[tuple[WholeNumber, ...], Field(min_length=1)]  # everything is trained once with each

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is there twice")
        return seeds


class FitParams(Section):
    """How a small network is trained."""

    learning_rate: Positive
    weight_decay: NotNegative  # of the final fully connected layers only
    batch_clips: Annotated[int, Field(ge=2)]
    epochs: Count
    patience: Count  # epochs without a lower loss on val


class ModelParams(Section):
    """What every temporal model has."""

    features: str  # stage whose folder is read: extract_vgg, extract_c3d_weighted, extract_audio ...
    overlap: Overlap | None  # of the windows that are read; null where the features are no windows
    refit: bool  # trained a second time, on train and val together, for ensembles that ask for it


class ScoresParams(ModelParams):
    """No sequence model: scores of frames or windows, joined over time."""

    model: Literal["scores"]
    take: Literal["maximum", "mean", "majority", "most_certain", "central"]  # as `temporal.baselines`


class AugmentParams(Section):
    """Random variants of the training sequences; 1, 1 and false: none."""

    shortest: Annotated[float, Field(gt=0, le=1)]  # share of a sequence that a part has at least
    stretch: Annotated[float, Field(ge=1)]  # most by which a part is slowed down or sped up
    flip: bool  # features of the mirrored faces half the time; needs extract_....flipped


class LstmParams(ModelParams):
    """A sequence model, section 2.5."""

    model: Literal["lstm"]
    hidden: Count
    descriptor: Count
    layers: Count
    bidirectional: bool
    dropout: Annotated[float, Field(ge=0, lt=1)]
    max_length: Count  # longer sequences are cut to their central part
    standardise: bool  # features to zero mean and unit variance over the training split
    augment: AugmentParams
    fit: FitParams


class MlpParams(ModelParams):
    """The audio perceptron, section 2.2."""

    model: Literal["perceptron"]
    descriptor: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    fit: FitParams


class SvmParams(ModelParams):
    """The comparison: a linear support vector machine on standardised features."""

    model: Literal["svm"]
    c: tuple[Positive, ...]  # the best on val is taken


TemporalParams = Annotated[ScoresParams | LstmParams | MlpParams | SvmParams, Field(discriminator="model")]


class ScoreFusionParams(Section):
    """A fusion without parameters of its own."""

    models: tuple[Modality, ...]


class WeightedMeanParams(Section):
    """Weights on a simplex grid, chosen by cross-validation on val."""

    models: tuple[Modality, ...]
    steps: Count  # the grid has weights k / steps
    folds: Annotated[int, Field(ge=2)]


class SvmFusionParams(Section):
    """A linear support vector machine on the models' scores, fitted on val."""

    models: tuple[Modality, ...]
    c: Annotated[tuple[Positive, ...], Field(min_length=1)]  # the best in cross-validation is taken
    folds: Annotated[int, Field(ge=2)]


class GammaParams(Section):
    """gamma(t) = first * factor ** t, t in epochs."""

    first: NotNegative
    factor: Annotated[float, Field(gt=0, le=1)]


class ModDropParams(Section):
    """Figure 5 and the penalty of section 2.6."""

    models: tuple[Modality, ...]
    hidden: Count  # units of each modality's block of the first layer
    drop_probability: Annotated[float, Field(ge=0, lt=1)]  # per modality
    dropout: Annotated[float, Field(ge=0, lt=1)]  # of the descriptors' values and of the hidden units
    cross_modality: Literal["penalty", "blocked"]  # of the paper, or of the original recipe
    gamma: GammaParams  # of the penalty
    blocked_epochs: WholeNumber  # in which blocked blocks stay zeros
    fit: FitParams


class ScoreTreeParams(Section):
    """Figure 6."""

    models: tuple[Modality, ...]
    hidden: Count | None  # units of a hidden layer in each classifier; null: none
    drop_probability: Annotated[float, Field(ge=0, lt=1)]  # per modality
    dropout: Annotated[float, Field(ge=0, lt=1)]  # of the descriptors' values, and of hidden units
    fit: FitParams


class TrainFusionParams(Section):
    """One entry per stage `train_fusion@<name>`."""

    majority: ScoreFusionParams
    mean: ScoreFusionParams
    max: ScoreFusionParams
    svm: SvmFusionParams
    weighted_mean: WeightedMeanParams
    moddrop: ModDropParams
    score_tree: ScoreTreeParams


class EnsembleParams(Section):
    """A named set of temporal models and the fusion that joins them, section 3.4."""

    members: Annotated[tuple[Name, ...], Field(min_length=1)]
    fusion: Name  # entry of train_fusion, whose parameters are taken but for `models`
    trained_on: Literal["train", "train_val"]  # train_val: with what was found on val before, as submission 7


class LeaveOneOutParams(Section):
    """Accuracy for people of whom the models have seen nothing, one after the other."""

    subjects: tuple[Annotated[str, Field(pattern=r"^[\w-]+$")], ...]  # each is the test split once, the next one val


class EvaluateParams(Section):
    """The report."""

    title: str  # what was run, for the page's head
    strip_faces: Count  # faces per class in the figure of face strips
    worst_clips: WholeNumber  # clips whose contact sheets are shown, the worst first
    bootstrap_samples: Count  # for the 95 % intervals
    seed: WholeNumber


class SearchParams(Section):
    """Values for a random grid search, by model and dotted key, as `fit.learning_rate`. No stage reads it."""

    seed: WholeNumber  # of the order in which the grid's points are tried
    train_temporal: dict[Name, dict[str, tuple[bool | int | float | str | None, ...]]]
    train_fusion: dict[Name, dict[str, tuple[bool | int | float | str | None, ...]]]


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
    search: SearchParams
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
    try:
        return Params.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stages from the repository's root") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({error})") from error
    except ValidationError as error:
        raise UserError("\n".join(f"{path}: {_line(e)}" for e in error.errors())) from None


def _line(error) -> str:  # type: ignore[no-untyped-def]  # pydantic's ErrorDetails
    key = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key (value {error['input']!r}); remove it or correct its name"
    if error["type"] == "missing":
        return f"{key}: missing; add it (params/ has complete files)"
    return f"{key}: {error['msg']}, got {error['input']!r}"
