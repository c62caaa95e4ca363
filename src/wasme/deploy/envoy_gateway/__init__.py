"""Filters in the gateways of Envoy Gateway."""
