"""Searches with Optuna: the space, the study and what it proposes, each batch of trials a sweep."""
