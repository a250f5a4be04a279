"""Who vouches for amphorae and controllers."""
