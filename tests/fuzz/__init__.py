"""Lives of objects, broken and hostile requests against the whole API: `python -m tests.fuzz --count 100000 --seed 1`."""
