"""What the models are worth, as metrics.json, csv files and report.html: `evaluate`, `pool`."""
