"""The API of LBaaS v2, as a second root beside the first one: an adapter with its own bodies, errors and habits over the same rows."""
