"""What a step draws at random, as a pure function of its run, of where in its training, and of the place in it."""
