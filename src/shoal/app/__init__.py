"""What one command does, from a command line, or from a list of overrides in Python, to a trained run."""
