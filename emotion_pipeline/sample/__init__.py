"""The generator of the sample data set: `make_clips`, `make_stills`."""
