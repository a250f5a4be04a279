"""Where amphorae run."""
