//go:build tools

// Package istiod names the two commands of Istio that the tests build: its control plane and the agent in its pods.
package istiod

import (
	_ "istio.io/istio/pilot/cmd/pilot-agent"
	_ "istio.io/istio/pilot/cmd/pilot-discovery"
)
