"""Scenarios: requests and the answers a filter must give, run on the real Envoy."""
