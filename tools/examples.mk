# A page of figures from a generated year of market: docs/examples/market.md and its plots.
.PHONY: example-market
example-market:
	$(GO) run -tags "$(TAGS)" ./tools/examplemarket docs/examples
