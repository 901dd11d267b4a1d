"""Emotion classification of short video clips: Vielzeuf, Pateux, Jurie, EmotiW 2017."""
