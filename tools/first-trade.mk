# The way of a new operator: init, doctor and serve with real Lightning nodes, and a first trade by
# mostro-cli. MOSTRODEX_INTEROP_FIRST_TRADE_TRANSCRIPT=FILE keeps the transcript.
.PHONY: first-trade
first-trade: build lnd interop-cli-prepare
	@if [ -x "$(INTEROP_CLI)/bin/mostro-cli" ]; then \
		MOSTRODEX_INTEROP_CLI="$(INTEROP_CLI)/bin/mostro-cli" MOSTRODEX_INTEROP_FIRST_TRADE_SERVER="$(CURDIR)/bin/mostrodex" \
			$(GO) test -tags "$(TAGS)" -count=1 -timeout 20m ./tools/first-trade; fi
