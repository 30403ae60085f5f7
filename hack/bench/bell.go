package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/service-token-operator/service-token-operator/hack/lab"
)

// bell measures how long after a change at the server it is in the last Secret that it belongs to, when a webhook tells of it and no poll
// is due for minutes.
func bell(ctx context.Context, b *bench) error {
	const objects, interval, secret = 1000, 5 * time.Minute, "bench"
	address, err := lab.FreeAddress()
	if err != nil {
		return err
	}
	secrets := filepath.Join(b.dir, "webhooks")
	if err := os.MkdirAll(secrets, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(secrets, "bench"), []byte(secret), 0o600); err != nil {
		return err
	}
	flags := b.flags
	b.flags = append(slices.Clone(flags), "--webhook-bind-address="+address, "--webhook-secrets-dir="+secrets)
	defer func() { b.flags = flags }()
	return b.withStage(ctx, newWorld(objects, interval), nil, func(s *stage) error {
		o, _, err := s.coldStart(ctx)
		if err != nil {
			return err
		}
		if err := s.infisical.addWebhook(ctx, "http://"+address+"/", secret); err != nil {
			return err
		}
		var all []time.Duration
		for i := range s.changes {
			_, whole, err := s.timeChange(ctx, i%s.world.sources)
			if err != nil {
				return err
			}
			all = append(all, whole...)
		}
		p99, last := percentile(all, 99), slices.Max(all)
		of := fmt.Sprintf("%d × %d Secrets, polls every %s", s.changes, objects/s.world.sources, interval)
		s.say("   webhook: %s, p50 %v, p99 %v, last %v after the change", of, percentile(all, 50).Round(time.Millisecond), p99.Round(time.Millisecond), last.Round(time.Millisecond))
		s.add(
			figure{Row: "webhook", Case: of, Name: "change to Secret, p50", Value: percentile(all, 50).Seconds(), Unit: "s", Target: "-", Met: true},
			figure{Row: "webhook", Case: of, Name: "change to Secret, the last", Value: last.Seconds(), Unit: "s", Target: "< 1", Met: last < time.Second},
		)
		if err := s.verify(ctx); err != nil {
			return err
		}
		return o.Stop()
	})
}

// addWebhook has the project tell of changes.
func (i *infisical) addWebhook(ctx context.Context, url, secret string) error {
	return i.do(ctx, http.MethodPost, "/projects/"+i.project+"/webhooks", map[string]string{"url": url, "secret": secret}, nil)
}
