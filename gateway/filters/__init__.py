"""What policies do to requests: one file per kind of policy, and the table of them."""
