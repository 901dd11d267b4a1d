"""What the models are worth: metrics.json, the csv files behind every plot, and report.html."""
