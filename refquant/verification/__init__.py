"""Floor 7: is another implementation right? verify.py begins; the rules are in verdict.py."""
