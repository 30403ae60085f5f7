package source

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// poll is a good attempt of a source: how long after the one before it was due, and how late it ended.
type poll struct{ interval, late time.Duration }

// times repeats polls.
func times(n int, polls ...poll) []poll {
	var all []poll
	for range n {
		all = append(all, polls...)
	}
	return all
}

func TestPeriodIsCoarseAndSeldomChanges(t *testing.T) {
	const s = time.Second
	in := func(interval, late time.Duration) poll { return poll{interval, late} }
	late := func(interval time.Duration, class int) Period {
		return Period{Min: interval + interval<<(class-1), Max: interval + interval<<class}
	}
	for name, tt := range map[string]struct {
		polls []poll
		want  []Period // each that becomes known as another than the one before
	}{
		"in time":                         {times(50, in(60*s, s)), nil},
		"one interval late is none":       {times(50, in(60*s, 60*s)), nil},
		"the first is not counted":        {append(times(1, in(60*s, 600*s)), times(50, in(60*s, s))...), nil},
		"nothing is said too soon":        {times(11, in(s, 4*s)), nil},
		"late":                            {times(50, in(60*s, 61*s)), []Period{late(60*s, 1)}},
		"two hundred at forty a minute":   {times(50, in(60*s, 247*s)), []Period{late(60*s, 3)}},
		"on the border of two":            {times(50, in(60*s, 230*s), in(60*s, 250*s)), []Period{late(60*s, 3)}},
		"less, but it may come back":      {append(times(50, in(60*s, 247*s)), times(50, in(60*s, 121*s))...), []Period{late(60*s, 3)}},
		"less than half":                  {append(times(50, in(60*s, 247*s)), times(50, in(60*s, 100*s))...), []Period{late(60*s, 3), late(60*s, 1)}},
		"in time again":                   {append(times(50, in(60*s, 61*s)), times(50, in(60*s, s))...), []Period{late(60*s, 1), {}}},
		"a long interval has no memory":   {append(times(5, in(time.Hour, 0)), in(time.Hour, 2*time.Hour), in(time.Hour, 0)), []Period{late(time.Hour, 1), {}}},
		"a hiccup of a short one":         {append(times(20, in(5*s, 0)), append(times(1, in(5*s, 10*s)), times(20, in(5*s, 0))...)...), nil},
		"half of each window in time":     {times(50, append(times(5, in(5*s, 0)), in(5*s, 30*s))...), []Period{late(5*s, 2)}},
		"most of each window in time":     {times(50, append(times(9, in(5*s, 0)), in(5*s, 10*s))...), nil},
		"one in a window":                 {times(20, in(5*s, 56*s)), []Period{late(5*s, 4)}},
		"a longer interval is another":    {append(times(50, in(60*s, 130*s)), times(5, in(90*s, 130*s))...), []Period{late(60*s, 2), late(90*s, 1)}},
		"nobody is left to want anything": {times(50, in(0, 60*s)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var d delay
			var got []Period
			now := time.Unix(0, 0)
			for _, p := range tt.polls {
				now = now.Add(p.interval + p.late)
				before := d.period()
				changed := d.add(p.late, now, p.interval)
				g.Expect(changed).To(Equal(d.period() != before))
				if changed {
					got = append(got, d.period())
				}
			}
			g.Expect(got).To(Equal(tt.want))
		})
	}
}

func TestClassesDouble(t *testing.T) {
	g := NewWithT(t)
	for intervals, class := range map[float64]int{0: 0, 1: 0, 1.01: 1, 2: 1, 2.01: 2, 4: 2, 4.1: 3, 8: 3, 1000: 10} {
		g.Expect(classOf(intervals)).To(Equal(class), "%v", intervals)
	}
}

func TestWhatIsLateForOneReaderIsInTimeForAnother(t *testing.T) {
	g := NewWithT(t)
	p := Period{Min: 5 * time.Minute, Max: 9 * time.Minute}
	g.Expect(p.against(time.Minute)).To(Equal(p))
	g.Expect(p.against(150 * time.Second)).To(Equal(p))
	g.Expect(p.against(3 * time.Minute)).To(BeZero())
	g.Expect(Period{}.against(time.Minute)).To(BeZero())
}
