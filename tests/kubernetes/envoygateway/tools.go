//go:build tools

// Package envoygateway names the program of Envoy Gateway that the tests build: its control plane.
package envoygateway

import (
	_ "github.com/envoyproxy/gateway/cmd/envoy-gateway"
)
