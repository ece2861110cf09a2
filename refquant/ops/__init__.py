"""Floor 1: the operations, what each of them is; catalogue.py names them all."""
