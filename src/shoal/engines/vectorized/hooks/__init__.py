"""The hooks of a run in a stack: which are called, with what Trainer, and what they log."""
