"""Small generated features of 45 clips, in the folders and files of the feature stages."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from emotion_pipeline.data.artifact import Artifact, write_artifact
from emotion_pipeline.data.manifest import Clip
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.params import Params, TemporalParams

WIDTH = 12
NO_FACE = "train_fear_1"
FAILED = "val_sad_0"
LONG = "test_angry_0"


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    made = [
        Clip(f"{split}_{emotion}_{take}", "", split, emotion, "")
        for split, takes in (("train", 3), ("val", 1), ("test", 2))
        for emotion in EMOTIONS
        for take in range(takes)
    ]
    return [*made, *(Clip(f"zz_{i}", "", "test", "", "") for i in range(3))]


def scores_of(features: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """Softmax scores (t, 7) by the distance to each class's pattern."""
    return softmax(-((features[:, None] - pattern) ** 2).sum(axis=2) / 8, axis=1).astype(np.float32)


@pytest.fixture(scope="session")
def features(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/ with extract_vgg, extract_c3d/weighted, extract_audio: the class is visible, with noise."""
    data, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(7)
    pattern = rng.standard_normal((7, WIDTH))
    for clip in clips:
        kind = EMOTIONS.index(clip.label) if clip.label else 0
        steps = 40 if clip.clip_id == LONG else int(rng.integers(1, 20))

        def draw(n: int, clip: Clip = clip, kind: int = kind) -> np.ndarray:
            n = 0 if clip.clip_id == NO_FACE else n
            return (pattern[kind] + rng.standard_normal((n, WIDTH)) * 0.7).astype(np.float32)

        absent = "no_face: in none of 9 frames" if clip.clip_id == NO_FACE else ""
        windows = {}
        for k, n in ((0, 1 + steps // 16), (8, 1 + steps // 8)):
            windows |= {f"overlap_{k}/features": draw(n), f"overlap_{k}/scores": scores_of(draw(n), pattern)}
        for stage, arrays in (
            (
                "extract_vgg",
                {"features": draw(steps), "scores": scores_of(draw(steps), pattern), "flipped/features": draw(steps)},
            ),
            ("extract_c3d/weighted", windows),
            ("extract_audio", {"features": draw(1)}),
        ):
            if clip.clip_id == FAILED:
                (data / stage / "failures.csv").write_text(f"clip_id,reason,detail\n{FAILED},unreadable,cut\n")
            else:
                write_artifact(data / stage / f"{clip.clip_id}.h5", clip.clip_id, Artifact(arrays, absent=absent))
    return data


@pytest.fixture(scope="session")
def small(params: Params) -> dict[str, TemporalParams]:
    """Parameters of the sample, with few units and epochs: a model of each kind."""
    all_ = params.train_temporal
    fit = {"epochs": 12, "patience": 12, "learning_rate": 0.01, "descriptor": 9}
    size = fit | {"hidden": 16}
    two = {**size, "layers": 2, "bidirectional": True}
    return {
        "vgg_maximum": all_["vgg_maximum"],
        "vgg_lstm": all_["vgg_lstm"].model_copy(update={**size, "max_length": 15, "standardise": True, "refit": False}),
        "c3d_weighted_overlap8": all_["c3d_weighted_overlap8"],
        "c3d_lstm": all_["c3d_lstm"].model_copy(update=size | {"refit": False}),
        "c3d_lstm_overlap8": all_["c3d_lstm_overlap8"].model_copy(update=two | {"refit": False}),
        "audio_mlp": all_["audio_mlp"].model_copy(update=fit | {"refit": False}),
        "audio_svm": all_["audio_svm"],
    }
