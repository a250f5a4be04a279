"""What may come in and what goes out: one declaration per resource, from which validation, storage, views and filters follow."""
