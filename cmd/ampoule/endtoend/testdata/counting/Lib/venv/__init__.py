# Something is added to it.
