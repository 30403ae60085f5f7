package webhook

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"
)

// mount writes files as the kubelet does: into a directory of their own, to which the link ..data moves in one step.
func mount(t *testing.T, dir, version string, files map[string]string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	before, _ := os.Readlink(filepath.Join(dir, "..data"))
	must(os.Mkdir(filepath.Join(dir, version), 0o700))
	for name, content := range files {
		must(os.WriteFile(filepath.Join(dir, version, name), []byte(content), 0o600))
	}
	must(os.Symlink(version, filepath.Join(dir, "..data_tmp")))
	must(os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	entries, err := os.ReadDir(dir)
	must(err)
	for _, entry := range entries {
		if _, kept := files[entry.Name()]; !kept && entry.Name()[0] != '.' {
			must(os.Remove(filepath.Join(dir, entry.Name())))
		}
	}
	for name := range files {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			must(os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
		}
	}
	if before != "" {
		must(os.RemoveAll(filepath.Join(dir, before)))
	}
}

func texts(secrets [][]byte) (all []string) {
	for _, s := range secrets {
		all = append(all, string(s))
	}
	return all
}

func TestSecretsFollowTheirDirectory(t *testing.T) {
	dir := t.TempDir()
	c := clocktesting.NewFakePassiveClock(time.Unix(0, 0))
	secrets := Dir(dir, c)
	see := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, texts(secrets())); diff != "" {
			t.Error(diff)
		}
	}
	pass := func(d time.Duration) { c.SetTime(c.Now().Add(d)) }
	see()
	mount(t, dir, "..1", map[string]string{"shop": "one\n", "web": "two"})
	see() // nobody makes it read files at each delivery
	pass(secretsAge - time.Nanosecond)
	see()
	pass(time.Nanosecond)
	see("one", "two")

	mount(t, dir, "..2", map[string]string{"shop": "three", "shop-before": "one\r\n"})
	pass(secretsAge)
	see("three", "one")
	mount(t, dir, "..3", map[string]string{"shop": "three"})
	pass(secretsAge)
	see("three")
	mount(t, dir, "..4", map[string]string{"shop": "four"})
	pass(-time.Hour) // a clock that was set right
	see("four")
}

func TestOnlyFilesWithSomethingInThemAreSecrets(t *testing.T) {
	dir := t.TempDir()
	mount(t, dir, "..1", map[string]string{"a": " with spaces \n\n", "b": "\x00\xff", "empty": "", "newline": "\n"})
	for name, content := range map[string]string{".hidden": "hidden", "plain": "plain"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..data/nowhere", filepath.Join(dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	got := texts(Dir(dir, clocktesting.NewFakePassiveClock(time.Unix(0, 0)))())
	if diff := cmp.Diff([]string{" with spaces ", "\x00\xff", "plain"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestADirectoryThatIsNotThereHasNoSecrets(t *testing.T) {
	if got := Dir(filepath.Join(t.TempDir(), "nowhere"), clocktesting.NewFakePassiveClock(time.Unix(0, 0)))(); len(got) > 0 {
		t.Error(got)
	}
}
