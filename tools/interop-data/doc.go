// Package interopdata reads the exports of a running server with the tools of researchers:
// DuckDB, pandas, hyparquet, Frictionless and mlcroissant. make interop-data prepares the tools.
package interopdata
