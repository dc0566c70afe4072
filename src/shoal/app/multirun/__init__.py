"""Sweeps, between Hydra and the layer that trains them: their jobs composed, checked, launched and concluded."""
