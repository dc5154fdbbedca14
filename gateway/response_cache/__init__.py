"""Answers that are kept and given again, and calls that several callers share while they run."""
