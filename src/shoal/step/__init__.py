"""A step of one run, mapped over a stack and made into what is run."""
