"""Goldens: what a network does with one input, node by node (record.py, file.py)."""
