"""Where requests come in: HTTP, gRPC and admin. Each listener decodes, calls the pipeline and encodes, nothing else."""
