"""Random grid search over the parameters of temporal models and fusions, and what is chosen from it (section 3.4)."""
