"""The configurations of a sweep's jobs."""
