package controllers

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// terminal is where a user has kubectl, bash, and this namespace.
type terminal struct {
	*world
	dir string
}

func (w *world) terminal() *terminal {
	w.t.Helper()
	dir := w.t.TempDir()
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: testConfig.Host, CertificateAuthorityData: testConfig.CAData}
	config.AuthInfos["test"] = &clientcmdapi.AuthInfo{ClientCertificateData: testConfig.CertData, ClientKeyData: testConfig.KeyData}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test", Namespace: w.ns}
	config.CurrentContext = "test"
	w.Expect(clientcmd.WriteToFile(*config, filepath.Join(dir, "kubeconfig"))).To(Succeed())
	return &terminal{world: w, dir: dir}
}

// run runs commands, each of which must succeed, and returns what they print.
func (t *terminal) run(commands string) string {
	t.t.Helper()
	cmd := exec.CommandContext(t.ctx, "bash", "-euo", "pipefail", "-c", commands)
	cmd.Dir = t.dir
	cmd.Env = append(os.Environ(), "HOME="+t.dir, "KUBECONFIG="+filepath.Join(t.dir, "kubeconfig"),
		"PATH="+os.Getenv("KUBEBUILDER_ASSETS")+":"+os.Getenv("PATH"))
	var out, notes bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &notes
	t.Expect(cmd.Run()).To(Succeed(), "%s\n%s%s", commands, &out, &notes)
	return out.String()
}

func (t *terminal) write(file, text string) {
	t.t.Helper()
	t.Expect(os.WriteFile(filepath.Join(t.dir, file), []byte(text), 0o600)).To(Succeed())
}

// runbook is the first block of commands in a section of docs/migration.md.
func (w *world) runbook(section string) string {
	w.t.Helper()
	page, err := os.ReadFile("../docs/migration.md")
	w.Expect(err).NotTo(HaveOccurred())
	_, text, found := strings.Cut(string(page), "\n## "+section+"\n")
	w.Expect(found).To(BeTrue(), section)
	text, _, _ = strings.Cut(text, "\n## ")
	blocks := strings.Split(text, "```\n")
	w.Expect(len(blocks)).To(BeNumerically(">", 2), section)
	return blocks[1]
}

// commands are those in the comments of a converted manifest.
func commands(manifest string) (all []string) {
	for line := range strings.Lines(manifest) {
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), "#   kubectl "); ok {
			all = append(all, "kubectl "+command)
		}
	}
	return all
}

// watched sees every version of a Secret from now on. The function that it returns says that there was no moment at which the Secret was gone,
// another one, or held other data.
func (w *world) watched(name string) (unharmed func()) {
	w.t.Helper()
	first, err := w.secret(name)
	w.Expect(err).NotTo(HaveOccurred())
	c, err := client.NewWithWatch(testConfig, client.Options{Scheme: testScheme})
	w.Expect(err).NotTo(HaveOccurred())
	versions, err := c.Watch(w.ctx, &corev1.SecretList{}, client.InNamespace(w.ns), client.MatchingFields{"metadata.name": name},
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: first.ResourceVersion}})
	w.Expect(err).NotTo(HaveOccurred())
	var mu sync.Mutex
	var harm []string
	last := first.ResourceVersion
	go func() {
		for event := range versions.ResultChan() {
			mu.Lock()
			secret, ok := event.Object.(*corev1.Secret)
			switch {
			case !ok || event.Type == watch.Deleted:
				harm = append(harm, fmt.Sprintf("%s: %v", event.Type, event.Object))
			case secret.UID != first.UID:
				harm = append(harm, "it is another one")
			case !apiequality.Semantic.DeepEqual(secret.Data, first.Data):
				harm = append(harm, fmt.Sprintf("it holds %q", secret.Data))
			}
			if ok {
				last = secret.ResourceVersion
			}
			mu.Unlock()
		}
	}()
	w.t.Cleanup(versions.Stop)
	return func() {
		w.t.Helper()
		now, err := w.secret(name)
		w.Expect(err).NotTo(HaveOccurred())
		w.Eventually(func() string {
			mu.Lock()
			defer mu.Unlock()
			return last
		}).Should(Equal(now.ResourceVersion))
		mu.Lock()
		defer mu.Unlock()
		w.Expect(harm).To(BeEmpty())
	}
}

func (w *world) version(name string) string {
	w.t.Helper()
	secret, err := w.secret(name)
	w.Expect(err).NotTo(HaveOccurred())
	return secret.ResourceVersion
}
