//go:build libsecp256k1

package main

// signatureCheck is the name of the implementation that this build uses to verify signatures.
const signatureCheck = "libsecp256k1"
