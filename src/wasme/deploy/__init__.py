"""What to run and where: the filter's specification, the provider's protocol, the local Envoy."""
