"""Queries, one module per resource; each class works inside the transaction it was made for."""
