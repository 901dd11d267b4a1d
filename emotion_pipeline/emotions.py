"""The seven classes of the EmotiW challenge, in the one order used everywhere."""

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "neutral", "surprise")
"""Class names in the order of the score columns (Vielzeuf et al. 2017, section 3.1)."""
