"""Sequences of features -> seven scores and a descriptor per clip (sections 2.2 and 2.5): `train_temporal`."""
