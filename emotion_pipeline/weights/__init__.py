"""Published weights: what they are, where they come from, how they are fetched and read."""
