# The files of deploy/. tools/deploylint is a module of its own, so that the program does not
# depend on BuildKit and Compose.
.PHONY: deploy-lint acme startos
SCRIPTS = tools/fuzz.sh tools/lnd/build.sh tools/release/*.sh deploy/*.sh deploy/package/*.sh .ci/run
deploy-lint:
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); else echo "SKIP shellcheck: not installed"; fi
	cd tools/deploylint && $(GO) run . ../../deploy/Containerfile ../../deploy/compose.regtest.yml \
		../../deploy/umbrel/mostrodex/docker-compose.yml ../../deploy/umbrel/mostrodex/umbrel-app.yml

# A certificate from pebble, the ACME server of Let's Encrypt for tests, which is built once into
# the user's cache.
PEBBLE = github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.2
acme:
	@[ -x "$(CACHE)/pebble/pebble" ] || GOBIN="$(CACHE)/pebble" $(GO) install $(PEBBLE)
	$(GO) test -tags "$(TAGS)" -count 1 ./cmd/mostrodex -run TestOwnTLS -v

# The package for StartOS: the compiler checks it against the SDK, and the manifest is printed.
startos:
	@if command -v npm >/dev/null && command -v node >/dev/null; then \
		rm -rf "$(CACHE)/startos/startos" && mkdir -p "$(CACHE)/startos" && cp -R deploy/startos/. "$(CACHE)/startos/" && cd "$(CACHE)/startos" && \
		npm install --no-audit --no-fund --loglevel=error && npm run check && npm run build && \
		node -e 'console.log(JSON.stringify(require("./javascript").manifest))'; \
	else echo "SKIP startos: node and npm are not installed"; fi
