"""The steps of flows, by what they touch. Each does one thing, can undo it, and may run twice with the same effect."""
