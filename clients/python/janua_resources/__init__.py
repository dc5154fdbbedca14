"""What configuration resources are and when they are right: kinds, references, rules, and their form in YAML and JSON.

A pure leaf without I/O, shared by the command line, the config server and the gateway.
"""
