"""What clients ask for, made into requests for backends: one file per kind of request, whatever protocol it came over."""
