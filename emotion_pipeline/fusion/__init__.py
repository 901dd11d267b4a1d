"""Scores and descriptors of several models -> seven scores per clip (section 2.6 of the paper)."""

from emotion_pipeline.fusion.scores import majority, maximum, mean

SCORE_FUSIONS = {"majority": majority, "max": maximum, "mean": mean}
"""Fusions without parameters, by the name of their entry in `train_fusion`."""
