"""Floor 2: a model as a flat graph of operations plus arrays, and what can be done with it."""
