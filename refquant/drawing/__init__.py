"""Floor 1: pictures: shapes and how they are written (svg.py), a plot's frame (frame.py)."""
