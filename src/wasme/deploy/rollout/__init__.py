"""Changing workloads in steps, and turning back when one of them does not take it."""
