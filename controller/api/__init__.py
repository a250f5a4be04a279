"""The REST front: validate, store, post a job, answer."""
