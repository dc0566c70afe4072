"""Plain values to checked live objects. The constructor of each class is its schema."""
