"""Limits and budgets: what is counted, for whom, how much is left, and what callers are told of it.

Amounts are whole numbers: requests, tokens, or billionths of a US dollar. Counting is pure: times are handed in.
"""
