"""Filters in the proxies of an Istio mesh."""
