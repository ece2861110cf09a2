"""Floor 7: studies: what each way to quantize costs, with intervals; the paper's claims beside."""
