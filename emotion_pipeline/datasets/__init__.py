"""How the raw data sets lie in their folders, and the checked manifest made of them: `ingest`, `leave_out`."""
