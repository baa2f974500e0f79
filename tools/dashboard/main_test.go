package main

import (
	"bytes"
	"os"
	"testing"
)

// TestDashboardIsCurrent: the committed file is what the command writes.
func TestDashboardIsCurrent(t *testing.T) {
	want, err := build()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../deploy/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("deploy/grafana-dashboard.json is not current: run 'make dashboard'")
	}
}
