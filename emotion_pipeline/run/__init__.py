"""How a stage runs: work per clip, worker processes, the store of results, keys. It carries numbers unchanged."""
