"""Bytes of a stream to events and back. Pure, without I/O and without knowledge of what the events mean."""
