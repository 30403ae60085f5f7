package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// scene is one thing that the demo shows. It fails when what it promises does not happen.
type scene struct {
	title string
	play  func(context.Context, *stage) error
}

var scenes = []scene{
	{"A service token, in a Secret", tokenSecret},
	{"A ServiceTokenSecret, and the Secret that it makes", synced},
	{"A value changes at the server", changed},
	{"Somebody edits the Secret by hand", healed},
	{"The token is rotated", rotated},
	{"The token is revoked", revoked},
	{"The token nears its rotation threshold", threshold},
}

// placeholder stands in config/samples/infisical-token.yaml where users put their token.
const placeholder = "st.<id>.<secret>.<key>"

func tokenSecret(ctx context.Context, s *stage) error {
	if err := s.putToken(ctx, s.newToken()); err != nil {
		return err
	}
	secret, err := s.secret(ctx, "infisical-token")
	if err != nil {
		return err
	}
	token, err := servicetoken.Parse(secret["token"])
	if err != nil {
		return err
	}
	s.say("   it holds %s: the operator prints no more of a token than its id, and never sends its fourth part, the key", token)
	return nil
}

// putToken applies the sample with a token in it, as its reader is told to.
func (s *stage) putToken(ctx context.Context, token string) error {
	file := "config/samples/infisical-token.yaml"
	sample, err := os.ReadFile(filepath.Join(s.root, file))
	if err != nil {
		return err
	}
	if !strings.Contains(string(sample), placeholder) {
		return fmt.Errorf("%s does not hold %s", file, placeholder)
	}
	s.say("   $ sed 's/%s/'\"$TOKEN\"/ %s | kubectl apply -f -", placeholder, file)
	out, err := s.kubectl(ctx, strings.ReplaceAll(string(sample), placeholder, token), "apply", "-f", "-")
	s.say("%s", indent(out))
	return err
}

func synced(ctx context.Context, s *stage) error {
	if err := s.show(ctx, "apply", "-f", filepath.Join(s.root, "config/samples/shop.yaml")); err != nil {
		return err
	}
	if err := s.show(ctx, "wait", "stsec/shop", "--for=condition=Ready", "--timeout=30s"); err != nil {
		return err
	}
	if err := s.show(ctx, "get", "stsec"); err != nil {
		return err
	}
	secret, err := s.secret(ctx, "shop-env")
	if err != nil {
		return err
	}
	s.say("   The Secret shop-env, decoded, as this is a demo; ${…} in DATABASE_URL was resolved by the operator:")
	for _, name := range sortedKeys(secret) {
		s.say("     %-13s %s", name, secret[name])
	}
	if got, want := secret["DATABASE_URL"], "postgres://shop@db.internal:5432/shop"; got != want {
		return fmt.Errorf("DATABASE_URL is %q, not %q", got, want)
	}
	return nil
}

func changed(ctx context.Context, s *stage) error {
	s.say("   Objects look every 60 s by default; for this demo, every 5 s.")
	if err := s.show(ctx, "patch", "stsec/shop", "--type=merge", "-p", `{"spec":{"refreshInterval":"5s"}}`); err != nil {
		return err
	}
	took, err := s.until(ctx, "DB_PASSWORD", "a new password", func() error {
		s.infisical.project.Put("prod", "/shop", "DB_PASSWORD", "a new password")
		return nil
	})
	if err != nil {
		return err
	}
	s.say("   changed at the server; in the Secret after %d ms (the interval, with some jitter, is the most it takes)", took.Milliseconds())
	took, err = s.until(ctx, "DB_PASSWORD", "newer still", func() error {
		s.infisical.project.Put("prod", "/shop", "DB_PASSWORD", "newer still")
		return s.refresh(ctx, "now")
	})
	if err != nil {
		return err
	}
	s.say("   changed again, and asked for by the annotation servicetoken.io/refresh: in the Secret after %d ms", took.Milliseconds())
	return nil
}

func healed(ctx context.Context, s *stage) error {
	took, err := s.until(ctx, "DB_USER", "shop", func() error {
		return s.show(ctx, "patch", "secret/shop-env", "--type=merge", "-p", `{"stringData":{"DB_USER":"mallory"}}`)
	})
	if err != nil {
		return err
	}
	s.say("   undone; kubectl's own time included, after %d ms", took.Milliseconds())
	return s.showEvent(ctx, "Healed")
}

func rotated(ctx context.Context, s *stage) error {
	if err := s.putToken(ctx, s.newToken()); err != nil {
		return err
	}
	return s.showEvent(ctx, "TokenRotated")
}

func revoked(ctx context.Context, s *stage) error {
	secret, err := s.secret(ctx, "infisical-token")
	if err != nil {
		return err
	}
	s.say("   revoked at the server")
	s.infisical.server.Revoke(secret["token"])
	if err := s.showEvent(ctx, "TokenRevoked"); err != nil {
		return err
	}
	if err := s.show(ctx, "get", "stsec"); err != nil {
		return err
	}
	s.say("   and the Secret is as it was:")
	if err := s.show(ctx, "get", "secret/shop-env"); err != nil {
		return err
	}
	kept, err := s.secret(ctx, "shop-env")
	if err == nil && kept["DB_PASSWORD"] != "newer still" {
		err = fmt.Errorf("the Secret was changed")
	}
	return err
}

func threshold(ctx context.Context, s *stage) error {
	s.say("   A new token, and a threshold of 50 uses instead of 2^32, to see the warning at 45.")
	if err := s.show(ctx, "patch", "stsec/shop", "--type=merge", "-p", `{"spec":{"rotation":{"threshold":50}}}`); err != nil {
		return err
	}
	if err := s.putToken(ctx, s.newToken()); err != nil {
		return err
	}
	s.say("   using it …")
	uses := 0
	if err := s.await(ctx, "90 % of the threshold", func() (bool, error) {
		events, err := s.kubectl(ctx, "", "get", "events", "--field-selector=reason=RotationThresholdReached", "-o", "name")
		if err != nil || events != "" {
			return true, err
		}
		uses++ // each refresh asks for the token, its project and the source
		if err := s.refresh(ctx, fmt.Sprintf("use-%d", uses)); err != nil {
			return false, err
		}
		s.sleep(ctx, 500*time.Millisecond)
		return false, nil
	}); err != nil {
		return err
	}
	if err := s.showEvent(ctx, "RotationThresholdReached"); err != nil {
		return err
	}
	return s.show(ctx, "get", "stsec")
}

// refresh asks for a fetch, as users do.
func (s *stage) refresh(ctx context.Context, mark string) error {
	_, err := s.kubectl(ctx, "", "annotate", "--overwrite", "stsec/shop", "servicetoken.io/refresh="+mark)
	return err
}

// until does something and returns how long it took for a key of the target to have a value.
func (s *stage) until(ctx context.Context, key, value string, do func() error) (time.Duration, error) {
	start := time.Now()
	if err := do(); err != nil {
		return 0, err
	}
	err := s.await(ctx, key+" to change", func() (bool, error) {
		secret, err := s.secret(ctx, "shop-env")
		return secret[key] == value, err
	})
	return time.Since(start), err
}

// showEvent waits for an event of a reason and shows the newest.
func (s *stage) showEvent(ctx context.Context, reason string) error {
	args := []string{"get", "events", "--field-selector=reason=" + reason}
	if err := s.await(ctx, "the event "+reason, func() (bool, error) {
		out, err := s.kubectl(ctx, "", append(args, "-o", "name")...)
		return out != "", err
	}); err != nil {
		return err
	}
	return s.show(ctx, args...)
}

// secret reads a Secret of the demo's namespace, decoded.
func (s *stage) secret(ctx context.Context, name string) (map[string]string, error) {
	out, err := s.kubectl(ctx, "", "get", "secret", name, "-o", "json")
	if err != nil {
		return nil, err
	}
	var secret struct{ Data map[string]string }
	if err := json.Unmarshal([]byte(out), &secret); err != nil {
		return nil, err
	}
	for key, value := range secret.Data {
		plain, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return nil, err
		}
		secret.Data[key] = string(plain)
	}
	return secret.Data, nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
