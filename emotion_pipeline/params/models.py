"""Sections of the trainings behind the features: temporal models and fusions."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from emotion_pipeline.params.base import Count, Dropout, Name, NotNegative, Overlap, Positive, Section, WholeNumber


class TrainingParams(Section):
    """What the trainings of temporal models and fusions share."""

    seeds: Annotated[tuple[WholeNumber, ...], Field(min_length=1)]  # everything is trained once with each

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"a seed is there twice, got {list(seeds)}")
        return seeds


class FitParams(Section):
    """How a small network is trained.

    These keys stand beside the model's own, not in a section below it: `dvc exp run -S` loses a change of a mapping
    that several entries share by a YAML anchor.
    """

    learning_rate: Positive
    weight_decay: NotNegative  # of the final fully connected layers only
    batch_clips: Annotated[int, Field(ge=2)]
    epochs: Count
    patience: Count  # epochs without a lower loss on val


class AugmentParams(Section):
    """Random variants of the training sequences; 1, 1 and false: none."""

    augment_shortest: Annotated[float, Field(gt=0, le=1)]  # share of a sequence that a part has at least
    augment_stretch: Annotated[float, Field(ge=1)]  # most by which a part is slowed down or sped up
    augment_flip: bool  # features of the mirrored faces half the time; needs extract_....flipped


class ModelParams(Section):
    """What every temporal model has."""

    features: Annotated[str, Field(pattern="^[a-z0-9_]+(/[a-z0-9_]+)?$")]  # folder in data/: extract_c3d/weighted ...
    overlap: Overlap | None  # of the windows that are read; null where the features are no windows
    refit: bool  # trained a second time, on train and val together, for fusions that ask for it


class ScoresParams(ModelParams):
    """No sequence model: scores of frames or windows, pooled over time."""

    model: Literal["scores"]
    pooling: Literal["maximum", "mean", "majority", "most_certain", "central"]  # as `temporal.model`


class LstmParams(ModelParams, AugmentParams, FitParams):
    """A sequence model, section 2.5."""

    model: Literal["lstm"]
    hidden: Count
    descriptor: Count
    layers: Count
    bidirectional: bool
    dropout: Dropout
    max_length: Count  # longer sequences are cut to their central part
    standardise: bool  # features to zero mean and unit variance over the training split


class MlpParams(ModelParams, FitParams):
    """The audio perceptron, section 2.2."""

    model: Literal["perceptron"]
    descriptor: Count
    dropout: Dropout


class SvmParams(ModelParams):
    """The comparison: a linear support vector machine on standardised features."""

    model: Literal["svm"]
    c: Annotated[tuple[Positive, ...], Field(min_length=1)]  # the best on val is taken


TemporalParams = Annotated[ScoresParams | LstmParams | MlpParams | SvmParams, Field(discriminator="model")]


class BaseFusionParams(Section):
    """What every fusion has."""

    models: Annotated[tuple[Name, ...], Field(min_length=1)]  # entries of train_temporal
    trained_on: Literal["train", "train_val"]  # train_val: with what was found on val before, as submission 7


class RuleParams(BaseFusionParams):
    """A fusion of scores without parameters of its own."""

    method: Literal["majority", "mean", "max"]


class WeightedMeanParams(BaseFusionParams):
    """Weights on a simplex grid, chosen by cross-validation on val."""

    method: Literal["weighted_mean"]
    steps: Count  # the grid has weights k / steps
    folds: Annotated[int, Field(ge=2)]


class SvmFusionParams(BaseFusionParams):
    """A linear support vector machine on the models' scores, fitted on val."""

    method: Literal["svm"]
    c: Annotated[tuple[Positive, ...], Field(min_length=1)]  # the best in cross-validation is taken
    folds: Annotated[int, Field(ge=2)]


class ModDropParams(BaseFusionParams, FitParams):
    """Figure 5 and the penalty of section 2.6."""

    method: Literal["moddrop"]
    hidden: Count  # units of each modality's block of the first layer
    drop_probability: Dropout  # per modality
    dropout: Dropout  # of the descriptors' values and of the hidden units
    cross_modality: Literal["penalty", "blocked"]  # of the paper, or of the original recipe
    gamma_first: NotNegative  # gamma(t) = first * factor ** t of the penalty, t in epochs
    gamma_factor: Annotated[float, Field(gt=0, le=1)]
    blocked_epochs: WholeNumber  # in which blocked blocks stay zeros


class ScoreTreeParams(BaseFusionParams, FitParams):
    """Figure 6."""

    method: Literal["score_tree"]
    hidden: Count | None  # units of a hidden layer in each classifier; null: none
    drop_probability: Dropout  # per modality
    dropout: Dropout  # of the descriptors' values, and of hidden units


FusionParams = Annotated[
    RuleParams | WeightedMeanParams | SvmFusionParams | ModDropParams | ScoreTreeParams, Field(discriminator="method")
]
