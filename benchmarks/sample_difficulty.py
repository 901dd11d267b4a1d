"""How well simple classifiers do on the sample data set as its difficulty rises.

    python -m benchmarks.sample_difficulty [difficulty ...]

Accuracy on persons that were not trained on, of (a) a linear support vector machine on the 1582 openSMILE functionals
of the sound, (b) a linear support vector machine on dlib's landmarks, normalised by the eyes, as their 10th and 90th
percentile about the clip's median and their mean about the training persons', (c) the mean of both classifiers'
scores. Cross-validation over 15 persons, 3 at a time. A clip without a found face is wrong in (b).
"""

import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from emotion_pipeline.data.artifact import read_array, write_artifact
from emotion_pipeline.data.media import sound
from emotion_pipeline.datasets.layouts import table
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.faces.detect import detect_clip
from emotion_pipeline.faces.landmarks import align_clip
from emotion_pipeline.features.opensmile import functionals
from emotion_pipeline.params import AlignParams, DetectParams, IngestParams, SampleParams, SubjectCounts, load_params
from emotion_pipeline.sample.generate import make_clips
from emotion_pipeline.weights.fetch import files_of

SUBJECTS = SubjectCounts(train=11, val=2, test=2)
FOLDS = 5
DETECT = DetectParams(detector="centerface", threshold=0.5, scale=0.5)
ALIGN = AlignParams(predictor="dlib_68")
INGEST = IngestParams(dataset="sample", root="", min_clips=0, subjects=None, test_subject=None)


def features(video: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Of the sound (1582,) and of the landmarks (408,), None without a face."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        boxes, points = Path(folder) / "boxes.h5", Path(folder) / "points.h5"
        runtime = load_params().runtime
        write_artifact(boxes, "clip", detect_clip([video, *files_of(DETECT.detector)], DETECT, runtime))
        predictor = files_of(ALIGN.predictor)
        write_artifact(points, "clip", align_clip([video, boxes, *predictor], ALIGN, runtime))
        landmarks = read_array(points, "landmarks")
    return functionals(sound(video, 16000), 16000, "IS10"), _movement(landmarks) if len(landmarks) else None


def _movement(landmarks: np.ndarray) -> np.ndarray:
    left, right = landmarks[:, 36:42].mean(axis=1), landmarks[:, 42:48].mean(axis=1)
    across = right - left
    distance = np.linalg.norm(across, axis=1)
    cos, sin = across[:, 0] / distance, across[:, 1] / distance
    turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], axis=1) / distance[:, None, None]
    points = (landmarks - ((left + right) / 2)[:, None]) @ turn.transpose(0, 2, 1)
    median = np.median(points, axis=0)
    return np.stack([*(np.percentile(points, (10, 90), axis=0) - median), points.mean(axis=0)]).ravel()


def scores(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray, c: float) -> np.ndarray:
    """Decision values (test clips, 7), one class against the rest."""
    model = make_pipeline(StandardScaler(), LinearSVC(C=c, random_state=0, max_iter=20000))
    return model.fit(x[train], y[train]).decision_function(x[test])


def accuracies(difficulty: float, seed: int) -> list[float]:
    """Of sound, face and both."""
    params = SampleParams(
        seed=seed, subjects=SUBJECTS, emotions_per_subject=7, takes=1, difficulty=difficulty, stills_per_emotion=1
    )
    with tempfile.TemporaryDirectory() as folder:
        make_clips(Path(folder), params, load_params().runtime)
        clips = [c for c in table(Path(folder), INGEST) if not c.clip_id.startswith("odd_")]
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            found = list(pool.map(features, [Path(folder) / clip.path for clip in clips], chunksize=8))
    y = np.array([EMOTIONS.index(clip.label) for clip in clips])
    who = np.array([clip.subject for clip in clips])
    heard = np.nan_to_num(np.array([f[0] for f in found]))
    has_face = np.array([f[1] is not None for f in found])
    seen = np.array([f[1] if f[1] is not None else np.zeros(408) for f in found])
    right = np.zeros((3, len(y)))
    for train, test in GroupKFold(FOLDS).split(y, groups=who):
        sound_scores = scores(heard, y, train, test, 1e-3)
        face_scores = scores(seen, y, train[has_face[train]], test, 1e-2) * has_face[test, None]
        for i, values in enumerate((sound_scores, face_scores, sound_scores + face_scores)):
            right[i, test] = values.argmax(axis=1) == y[test]
    right[1] *= has_face
    return [float(value) for value in right.mean(axis=1)]


def main() -> None:
    """Print the table in Markdown."""
    print("| difficulty | sound | face | both |\n|---|---|---|---|")
    for difficulty in [float(a) for a in sys.argv[1:]] or [0, 0.25, 0.5, 0.75, 1]:
        row = accuracies(difficulty, seed=2017)
        print(f"| {difficulty} | " + " | ".join(f"{100 * value:.0f} %" for value in row) + " |", flush=True)


if __name__ == "__main__":
    main()
