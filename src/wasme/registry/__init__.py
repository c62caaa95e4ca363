"""One OCI registry as a client sees it: credentials, auth flow, transfer, search."""
