"""The FilterDeployment itself: its definition, the spec as values, the status in conditions and events."""
