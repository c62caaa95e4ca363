//go:build tools

// Package server pins the Kubernetes programs that the tests run: nothing of it is compiled into wasme.
package server

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
)
