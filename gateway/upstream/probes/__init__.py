"""What an active health check asks: one kind of probe, one file."""
