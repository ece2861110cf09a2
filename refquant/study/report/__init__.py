"""The report of a study: what results.json says, in words, tables and plots (report.py)."""
