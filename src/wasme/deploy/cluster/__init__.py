"""A Kubernetes API server: connecting, reading, applying."""
