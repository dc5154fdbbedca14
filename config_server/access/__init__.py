"""Who may do what: principals and their credentials, what each role may call, and the guard before every call."""
