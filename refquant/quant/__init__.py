"""Floor 4: quantization of raw arrays. A scheme sees rows, a granularity makes them."""
