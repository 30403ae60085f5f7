package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// TestTheDemoShowsWhatItPromisesAndLeavesNothingBehind is `make demo EXIT=1` without its pauses.
func TestTheDemoShowsWhatItPromisesAndLeavesNothingBehind(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	err := run(ctx, options{assets: os.Getenv("KUBEBUILDER_ASSETS"), manager: operator(t), root: "../..", exit: true, out: &out})
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`it holds st\.[0-9a-f-]{36}\.\*\*\*`,
		`NAME +READY +REASON +TARGET +SECRETS +TOKEN USES +EXPIRES +AGE`,
		`shop +True +Synced +shop-env +5 +0% +171d`,
		`DATABASE_URL +postgres://shop@db\.internal:5432/shop`,
		`changed at the server; in the Secret after \d+ ms`,
		`undone; kubectl's own time included, after \d+ ms`,
		`Normal +Healed .*keys DB_USER`,
		`Normal +TokenRotated`,
		`Warning +TokenRevoked`,
		`shop +False +TokenRevoked +shop-env +5`,
		`shop-env +Opaque +5`,
		`Warning +RotationThresholdReached .* (9\d% of the 50|as often as it may be, 50) times`,
		`shop +True +Synced +shop-env +5 +(9|10)\d%`,
	} {
		if !regexp.MustCompile(line).MatchString(out.String()) {
			t.Errorf("no line like %s", line)
		}
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestTheDemoEndsWhenItIsInterrupted(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	seen := &watcher{text: "2. A ServiceTokenSecret", then: cancel}
	err := run(ctx, options{assets: os.Getenv("KUBEBUILDER_ASSETS"), manager: operator(t), root: "../..", out: seen})
	if err == nil || ctx.Err() == nil {
		t.Errorf("it ended with %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// watcher calls a function when a text is written.
type watcher struct {
	text string
	then func()
}

func (w *watcher) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.text) {
		w.then()
	}
	return len(p), nil
}

// operator is the binary in MANAGER, or one built for the test.
func operator(t *testing.T) string {
	t.Helper()
	if built := os.Getenv("MANAGER"); built != "" {
		return built
	}
	binary := filepath.Join(t.TempDir(), "manager")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binary
}
