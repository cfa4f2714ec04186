"""Tasks of one host: they read long tensors from where they lie in each other's memory."""
