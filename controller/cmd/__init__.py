"""One `main()` per process: reads the configuration, wires, runs."""
