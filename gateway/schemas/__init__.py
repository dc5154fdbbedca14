"""Wire formats of conversations and their translation to and from the canonical form. Pure, without I/O."""
