"""What is here, is it whole, where does it come from: `status`, `list_failures`, `verify`, `explain`."""
