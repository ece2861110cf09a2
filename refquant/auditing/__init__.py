"""Floor 5: audits, what quantization did to weights, from a whole model down to one weight."""
