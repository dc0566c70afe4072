"""Many runs as one: which share a stack and which train alone, in which process, what is left to do, and the result."""
