"""Filters in the gateways of Gloo Edge."""
