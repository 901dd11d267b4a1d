"""Sequences of features -> per clip seven scores and a small descriptor (sections 2.2 and 2.5 of the paper)."""
