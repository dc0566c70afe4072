"""Who is told what a training logs: the run's own record, TensorBoard, and other trackers."""
