"""From video to one smooth sequence of upright faces (section 2.1 of the paper)."""
