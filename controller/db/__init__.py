"""Rows, transactions and queries. Rows stay inside; frozen snapshots of `model` come out."""
