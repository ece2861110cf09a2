"""Floor 0: what every other floor may use, and what uses nothing but NumPy."""
