"""What is on disk: the manifest, videos, HDF5 artifacts, scores, models, sequences of features, failures."""
