package controllers

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestCutKeepsMessagesWithinWhatEventsTake(t *testing.T) {
	for _, message := range []string{"short", strings.Repeat("x", 1024), strings.Repeat("x", 1025), strings.Repeat("é", 2000)} {
		got := cut(message)
		if len(got) > 1024 || !utf8.ValidString(got) {
			t.Errorf("%d bytes became %d", len(message), len(got))
		}
		if len(message) <= 1024 && got != message {
			t.Errorf("%d bytes were changed", len(message))
		}
	}
}

func TestSpellSaysHowFarAwayAnExpiryIs(t *testing.T) {
	for left, want := range map[time.Duration]string{
		171*24*time.Hour + time.Hour: "171d", 48 * time.Hour: "2d", 47 * time.Hour: "47h", time.Hour: "1h", 59 * time.Minute: "59m", 0: "expired", -time.Hour: "expired",
	} {
		if got := spell(left); got != want {
			t.Errorf("%v is spelled %q, not %q", left, got, want)
		}
	}
}
