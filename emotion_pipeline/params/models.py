"""Sections of temporal models, fusions and ensembles."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from emotion_pipeline.params.base import Count, Name, NotNegative, Overlap, Positive, Section, WholeNumber

Modality = Literal["vgg_lstm", "c3d_lstm", "c3d_lstm_overlap8", "audio_mlp"]


class TrainingParams(Section):
    """What the trainings of temporal models, fusions and ensembles share."""

    seeds: Annotated[tuple[WholeNumber, ...], Field(min_length=1)]  # everything is trained once with each

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"a seed is there twice, got {list(seeds)}")
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
    pooling: Literal["maximum", "mean", "majority", "most_certain", "central"]  # as `temporal.baselines`


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
