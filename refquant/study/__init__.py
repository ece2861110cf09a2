"""Floor 7: the comparison of the paper: what each way to quantize costs, with intervals."""
