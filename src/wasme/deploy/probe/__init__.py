"""Asking the proxies themselves whether they run a filter."""
