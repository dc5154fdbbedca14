"""Outside providers as data: where they are, what they speak, how they know their customers."""
