"""Making proxies and gateways as wanted: the mesh, Gloo, Envoy Gateway."""
