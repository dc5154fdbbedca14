"""The control plane: keeps the configuration and streams it to gateway nodes."""
