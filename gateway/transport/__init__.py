"""Connections to backends. Bytes only: nothing here knows models or dialects."""
