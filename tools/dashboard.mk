# Writes the Grafana dashboard. tools/dashboard is a module of its own, so that the program does not
# depend on Grafana's SDK.
.PHONY: dashboard dashboard-check
dashboard:
	cd tools/dashboard && $(GO) run . -o ../../deploy/grafana-dashboard.json

dashboard-check:
	cd tools/dashboard && $(GO) test ./...
