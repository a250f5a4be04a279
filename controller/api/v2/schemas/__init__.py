"""What may come in and what goes out, one module per resource."""
