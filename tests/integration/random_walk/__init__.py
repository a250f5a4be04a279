"""A random walk of changes, and an oracle that says what clients are to meet after each of them.

`world` has members and clients, `state` what the API says, `oracle` what follows from it, `looking` compares it with what clients
meet, `steps` makes the changes.
"""
