"""The generator of the sample data set."""
