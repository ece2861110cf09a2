"""Floor 5: the files that a model can be read from and written to; catalogue.py lists them."""
