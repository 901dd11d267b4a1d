"""Published weights: what they are (`PublishedFile`), how they are fetched (`get`) and checked (`check`)."""
