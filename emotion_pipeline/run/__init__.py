"""How a stage runs, numbers carried unchanged: `run_stage`, `run_per_clip`, `run_each`, `made_once`, `note_keys`."""
