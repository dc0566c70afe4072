"""The runs of a stack: their parameters side by side, and an epoch of training for all of them."""
