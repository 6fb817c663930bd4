//go:build tools

// Package kustomize names the program by which the tests render deploy/ as kubectl does; go.mod pins its version.
package kustomize

import _ "sigs.k8s.io/kustomize/kustomize/v5"
