"""Floor 6: from images to detections, and from a data set to average precision."""
