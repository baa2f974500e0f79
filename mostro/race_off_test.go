//go:build !race

package mostro

const raceEnabled = false
