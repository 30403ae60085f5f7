package infisical

import (
	"testing"
	"time"
)

// TestWindowLearns feeds a window with answers and looks at what it would still send.
func TestWindowLearns(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	said := func(status int, arrived float64, remaining, reset int) *answerHead {
		return &answerHead{
			sent: at(arrived - 0.1), arrived: at(arrived), status: status,
			announced: true, limit: 40, remaining: remaining, reset: time.Duration(reset) * time.Second,
		}
	}
	silent := func(status int, arrived float64) *answerHead {
		return &answerHead{sent: at(arrived - 0.1), arrived: at(arrived), status: status}
	}
	scout, normal := &pass{scout: true}, &pass{}
	type event struct {
		p      *pass
		a      *answerHead
		others int
	}
	for name, c := range map[string]struct {
		events    []event
		known     bool
		remaining int
		until     float64
	}{
		"first answer":                          {[]event{{scout, said(200, 1, 39, 60), 0}}, true, 39, 62},
		"first answer with others on their way": {[]event{{scout, said(200, 1, 39, 60), 3}}, true, 36, 62},
		"no answer":                             {[]event{{scout, nil, 0}}, false, 0, 0},
		"first answer is a proxy's 502":         {[]event{{scout, silent(502, 1), 0}}, false, 0, 0},
		"lowered":                               {[]event{{scout, said(200, 1, 39, 60), 0}, {normal, said(200, 2, 10, 59), 0}}, true, 10, 62},
		"never raised":                          {[]event{{scout, said(200, 1, 10, 60), 0}, {normal, said(200, 2, 39, 59), 0}}, true, 10, 62},
		"end known better":                      {[]event{{scout, said(200, 1, 39, 60), 0}, {normal, said(200, 30.5, 38, 30), 0}}, true, 38, 61.5},
		"late news of the window before":        {[]event{{scout, said(200, 1, 39, 60), 0}, {normal, said(200, 1.5, 0, 1), 0}}, true, 39, 62},
		"news of the next window":               {[]event{{scout, said(200, 1, 5, 10), 0}, {normal, said(200, 11.5, 39, 60), 2}}, true, 37, 72.5},
		"silent 304 within a window":            {[]event{{scout, said(200, 1, 39, 60), 0}, {normal, silent(304, 2), 0}}, true, 39, 62},
		"silent 304 as the first of a window":   {[]event{{scout, said(200, 1, 39, 60), 0}, {scout, silent(304, 70), 1}}, true, 38, 131},
		"429 of a request that was not alone":   {[]event{{scout, said(200, 1, 39, 60), 0}, {normal, &answerHead{arrived: at(2), status: 429, retryAfter: 9 * time.Second}, 0}}, true, 0, 12},
		"answer to another than the scout":      {[]event{{normal, said(200, 1, 39, 60), 0}}, false, 0, 0},
	} {
		var w window
		for _, e := range c.events {
			if e.p.scout {
				w.known, w.scouting = false, true
			}
			w.learn(e.p, e.a, e.others)
		}
		until := time.Time{}
		if c.until > 0 {
			until = at(c.until)
		}
		if w.known != c.known || w.remaining != c.remaining || !w.latest.Equal(until) || w.scouting {
			t.Errorf("%s: known %v, remaining %d, until %v", name, w.known, w.remaining, w.latest.Sub(start))
		}
	}
}

func TestLimitsThatAreNoLongerAnnouncedAreForgotten(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w := window{limited: true, limit: 40, scouting: true}
	w.learn(&pass{scout: true}, &answerHead{sent: now, arrived: now, status: 200}, 0)
	for range 100 {
		if !w.admits(now) {
			t.Fatal("still limited")
		}
		w.take(&pass{})
	}
}

func TestQuotaIsGivenBackToItsOwnWindowOnly(t *testing.T) {
	w := window{known: true, limited: true, remaining: 5}
	var p pass
	w.take(&p)
	w.giveBack(&p)
	if w.remaining != 5 {
		t.Error(w.remaining)
	}
	w.take(&p)
	w.begin(40, 7, time.Time{}, time.Time{})
	w.giveBack(&p)
	if w.remaining != 7 {
		t.Error(w.remaining)
	}
}
