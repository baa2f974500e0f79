//go:build libsecp256k1

package main

// signatureCheck names the implementation that this build verifies with.
const signatureCheck = "libsecp256k1"
