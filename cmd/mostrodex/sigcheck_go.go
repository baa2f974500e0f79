//go:build !libsecp256k1

package main

// signatureCheck names the implementation that this build verifies with.
const signatureCheck = "pure Go (build with make for libsecp256k1, six times faster)"
