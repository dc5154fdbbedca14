"""Configuration messages to the frozen values that requests are handled with."""
