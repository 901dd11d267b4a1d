"""The paper's tables: which models are their rows, and its own numbers on AFEW 7.0, in per cent.

Vielzeuf, Pateux and Jurie 2017, arXiv:1709.07200. None: the paper gives no such number.
"""

CLASSES = {
    "angry": (133, 64, 99),
    "disgust": (74, 40, 40),
    "fear": (81, 46, 70),
    "happy": (150, 63, 144),
    "sad": (117, 61, 80),
    "neutral": (144, 63, 191),
    "surprise": (74, 46, 29),
}
"""Table 1: clips of train, val and test."""

TITLES = {
    2: "VGG-Face: scores joined over time, and LSTMs",
    3: "C3D by choice of training windows, and C3D-LSTMs",
    4: "Fusions",
    5: "Submissions",
}

ROWS: dict[int, dict[str, tuple[str, float | None, float | None]]] = {
    2: {
        "vgg_maximum": ("Maximum of the scores", 41.4, None),
        "vgg_mean": ("Mean of the scores", None, None),
        "vgg_majority": ("Majority of the frames", None, None),
        "vgg_lstm": ("VGG-LSTM", 48.6, None),
        "vgg_lstm_bidirectional": ("VGG-LSTM, bidirectional", 46.7, None),
        "vgg_lstm_2_layers": ("VGG-LSTM, two layers", 46.2, None),
        "vgg_lstm_bidirectional_2_layers": ("VGG-LSTM, bidirectional, two layers", 45.2, None),
    },
    3: {
        "c3d_central": ("C3D on central window", 38.7, None),
        "c3d_random": ("C3D on random window", 34.0, None),
        "c3d_weighted_overlap0": ("Weighted C3D", 42.1, None),
        "c3d_weighted_overlap8": ("Weighted C3D, overlap 8", 40.5, None),
        "c3d_weighted_overlap15": ("Weighted C3D, overlap 15", 40.1, None),
        "c3d_lstm": ("C3D-LSTM", 43.2, None),
        "c3d_lstm_overlap8": ("C3D-LSTM, overlap 8", 41.7, None),
        "c3d_lstm_overlap15": ("C3D-LSTM, overlap 15", None, None),
    },
    4: {
        "majority": ("Majority vote", 49.3, None),
        "mean": ("Mean", 47.8, None),
        "max": ("Maximum", None, None),
        "svm": ("Linear SVM on scores", None, None),
        "weighted_mean": ("Weighted mean", None, None),
        "submission_3": ("Submission 3: ModDrop", 52.2, 56.66),
        "submission_4": ("Submission 4: score tree", 50.8, 54.36),
        "submission_6": ("Submission 6: weighted mean", 50.6, 57.58),
    },
    5: {
        "submission_2": ("Submission 2: ModDrop", None, 55.28),
        "submission_3": ("Submission 3: ModDrop", None, 56.66),
        "submission_4": ("Submission 4: score tree", None, 54.36),
        "submission_5": ("Submission 5: ModDrop", None, 56.51),
        "submission_6": ("Submission 6: weighted mean", None, 57.58),
        "submission_7": ("Submission 7: weighted mean", None, 58.81),
    },
}
"""Tables 2 to 5: the models in their rows, how each is written, and the paper's accuracy on val and on test."""

FIGURE_7 = {
    "angry": (74.5, 0, 3.1, 3.1, 18.4, 1, 0),
    "disgust": (20, 0, 5, 15, 40, 20, 0),
    "fear": (27.1, 0, 34.3, 1.4, 21.4, 15.7, 0),
    "happy": (6.9, 0, 0.7, 82.6, 6.3, 3.5, 0),
    "neutral": (8.3, 0, 2.1, 5.7, 69.9, 14, 0),
    "sad": (12.5, 0, 7.5, 13.8, 25, 41.3, 0),
    "surprise": (21.4, 0, 21.4, 7.1, 35.7, 14.3, 0),
}
"""Confusion of submission 7 on test: true class -> per cent predicted, in the order of this dictionary."""

NAMES = {name: title for rows in ROWS.values() for name, (title, _, _) in rows.items()}
NAMES |= {"audio_mlp": "Audio perceptron", "audio_svm": "Audio linear SVM"}
"""How each model is written."""


def title_of(name: str) -> str:
    """Return how a model is written: as in the paper; `vgg_lstm_b`, named after another, as that one and the rest."""
    known = max((n for n in NAMES if f"{name}_".startswith(f"{n}_")), key=len, default="")
    rest = name.removeprefix(known).replace("_", " ")
    return NAMES[known] + rest if known else rest.capitalize()
