"""Floor 6: what one finds out with all of it: audits, sweeps, golden vectors, verdicts."""
