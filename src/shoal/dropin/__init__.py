"""Sweeps of programs that know nothing of shoal: Hydra runs the jobs, Lightning each training, a stack their epochs."""
