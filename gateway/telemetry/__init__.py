"""What the node tells about itself: metrics, access log, log."""
