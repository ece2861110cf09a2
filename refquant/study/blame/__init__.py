"""Blame: which usual mistake explains a wrong node? (catalogue.py)"""

from refquant.study.blame.catalogue import explain, explain_input

__all__ = ["explain", "explain_input"]
