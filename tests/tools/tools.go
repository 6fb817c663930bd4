//go:build tools

// Package tools names the test servers and checkers that the tests build with Go; go.mod pins their versions.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
