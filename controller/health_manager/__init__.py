"""Heartbeats in, verdicts, statuses and failovers out."""
