# Compares the OpenAPI document with live answers. tools/openapi is a module of its own, so that
# the program does not depend on the validator.
.PHONY: openapi
openapi:
	cd tools/openapi && $(GO) test -tags "$(TAGS)" ./...
