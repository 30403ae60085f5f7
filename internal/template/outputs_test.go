package template

import (
	"runtime"
	"strings"
	"testing"
)

// What is too large must be refused before it is made: what would be said after it, is the same.
func TestWhatHasNoRoomIsNotMade(t *testing.T) {
	for _, text := range []string{
		`{{ html (repeat 8000000 "<") }}`,
		`{{ js (repeat 8000000 "<") }}`,
		`{{ urlquery (repeat 8000000 "<") }}`,
		`{{ quote (repeat 8000000 "\x00") }}`,
		`{{ toRawJson (repeat 8000000 "\x00") }}`,
		`{{ printf "%q" (repeat 8000000 "\x00") }}`,
		`{{ printf "%.300f" (fromJson (print "[" (repeat 100000 "1.5,") "1.5]")) }}`,
		`{{ printf "%*d" 1000000 (dict "a" (until 100) "b" (until 100)) }}`,
		`{{ $x := repeat 50000 "a\n" }}{{ range 90 }}{{ $x = list $x }}{{ end }}{{ toYaml $x }}`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := renderOne(nil, text)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), "a value would be larger than 8388608 bytes") {
			t.Errorf("%s: got %v", text, err)
		}
		if size := after.TotalAlloc - before.TotalAlloc; size > 20<<20 {
			t.Errorf("%s: allocates %d MiB", text, size>>20)
		}
	}
}
