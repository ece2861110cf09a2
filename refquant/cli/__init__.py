"""Floor 8: the command line. One file per verb; no arithmetic."""
