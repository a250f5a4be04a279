"""Interfaces to everything outside, one folder a kind; implementations are found by entry point (`figlina.<kind>`)."""
