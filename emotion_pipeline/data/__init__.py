"""What is on disk: `read_manifest`, `frames`, `read_array`, `read_scores`, `read_model`, `load_sequences`."""
