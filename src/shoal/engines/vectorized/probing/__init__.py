"""Whether a run in a stack does what it does alone: asked before the first epoch."""
