"""What trains: one run under the plain Lightning Trainer, or a stack of runs."""
