"""Figlina's controller: the API, the worker, the health manager, housekeeping, and the operator's command line."""
