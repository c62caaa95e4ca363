"""Envoy's configuration as plain values, and one Envoy process."""
