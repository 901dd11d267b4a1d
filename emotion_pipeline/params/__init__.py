"""`params.yaml` as frozen records: every number that a run depends on, its unit or range in the type."""

from emotion_pipeline.params.base import Section
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
    TrackParams,
)
from emotion_pipeline.params.file import EvaluateParams, Params, RuntimeParams, load_params
from emotion_pipeline.params.models import (
    AugmentParams,
    FusionParams,
    LstmParams,
    MlpParams,
    ModDropParams,
    ModelParams,
    RuleParams,
    ScoresParams,
    ScoreTreeParams,
    SvmFusionParams,
    SvmParams,
    TemporalParams,
    WeightedMeanParams,
)
