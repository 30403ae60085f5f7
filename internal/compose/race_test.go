//go:build race

package compose

// slowness is how many times as long things may take as without the race detector.
const slowness = 15
