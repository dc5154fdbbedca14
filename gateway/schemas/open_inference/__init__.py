"""The Open Inference Protocol: tensors, over REST and gRPC."""
