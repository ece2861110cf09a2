"""Floor 4: files. FORMATS names every kind of model file that is read or written."""
