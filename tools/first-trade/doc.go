// Package firsttrade tries the program as a new operator would: init, doctor and serve with real
// Lightning nodes on regtest, and a first trade by mostro-cli. It writes the transcript of
// deploy/FIRST-TRADE.md. `make first-trade` runs it.
package firsttrade
