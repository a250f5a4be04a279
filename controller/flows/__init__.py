"""The order of steps: whoever reads one file knows what a job does."""
