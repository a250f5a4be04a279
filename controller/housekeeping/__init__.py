"""Periodic work: sweep what was lost, purge what is deleted, collect what nobody explains."""
