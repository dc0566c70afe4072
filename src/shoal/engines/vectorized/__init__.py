"""The vectorised engine: a stack of runs whose own training steps are mapped over them, and trained as one."""
