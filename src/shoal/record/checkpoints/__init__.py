"""The states of a training that are kept: which, where, and what of a state a file can hold."""
