//go:build tools

// Package kube names the API server and its store that the federation tests build with Go; go.mod pins their versions.
package kube

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
)
