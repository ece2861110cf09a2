"""The tensors of another implementation, from files of every usual kind (files.py)."""
