"""The data plane: a gateway node, which serves inference over HTTP and gRPC under the configuration it is sent."""
