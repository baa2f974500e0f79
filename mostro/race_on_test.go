//go:build race

package mostro

const raceEnabled = true
