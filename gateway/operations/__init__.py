"""What clients ask for, made into requests for backends: one file per kind, whatever protocol it came over."""
