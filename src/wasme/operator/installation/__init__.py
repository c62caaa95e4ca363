"""Putting the operator into a cluster, and out of it: manifests, rights, what the original left."""
