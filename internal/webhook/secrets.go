package webhook

import (
	"bytes"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// secretsAge is how long secrets are believed to be what they were. The kubelet takes about a minute to bring a changed Secret
// into a Pod, so these seconds are not noticed, and strangers cannot make the operator read files as often as they knock.
const secretsAge = 10 * time.Second

// Dir returns a function that returns the secrets in a directory, for Options.Secrets: the content of each file, without the
// newline at its end. They are shared and not to be changed. It is made for a mounted Secret with a key for each webhook, and another for a while when one is rotated.
// Empty files, directories, and what begins with a dot are left out, and so is what cannot be read: it returns nothing if that
// is so of all, or of the directory.
func Dir(path string, c clock.PassiveClock) func() [][]byte {
	var (
		mu      sync.Mutex
		secrets [][]byte
		read    time.Time
	)
	return func() [][]byte {
		mu.Lock()
		defer mu.Unlock()
		if now := c.Now(); read.IsZero() || now.Sub(read).Abs() >= secretsAge {
			secrets, read = readSecrets(os.DirFS(path)), now
		}
		return secrets
	}
}

func readSecrets(dir fs.FS) (secrets [][]byte) {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") { // ..data and what it points to, where the kubelet keeps the files
			continue
		}
		info, err := fs.Stat(dir, entry.Name()) // of what the link points to
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		content, err := fs.ReadFile(dir, entry.Name())
		if content = bytes.TrimRight(content, "\r\n"); err == nil && len(content) > 0 {
			secrets = append(secrets, content)
		}
	}
	return secrets
}
