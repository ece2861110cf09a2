"""Blame: which usual mistake explains a wrong node? (catalogue.py)"""

from refquant.study.blame.catalogue import explain
from refquant.study.blame.input_causes import explain_input
from refquant.study.blame.plain import plain_note

__all__ = ["explain", "explain_input", "plain_note"]
