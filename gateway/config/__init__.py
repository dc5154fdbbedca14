"""How configuration reaches a node and is kept: the values, the discovery client, the copy on disk."""
