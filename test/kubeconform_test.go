package test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// schemasOf writes a schema for every kind of an API server into a folder, as kubeconform looks for them: from the server's own
// description, as there is none to be had without the internet.
func schemasOf(t *testing.T, config *rest.Config) (folder string) {
	t.Helper()
	g := NewWithT(t)
	client, err := discovery.NewDiscoveryClientForConfig(config)
	g.Expect(err).NotTo(HaveOccurred())
	paths, err := client.OpenAPIV3().Paths()
	g.Expect(err).NotTo(HaveOccurred())
	folder = t.TempDir()
	kinds := 0
	for path, group := range paths {
		if !strings.HasPrefix(path, "api") {
			continue
		}
		text, err := group.Schema("application/json")
		g.Expect(err).NotTo(HaveOccurred())
		var described struct {
			Components struct {
				Schemas map[string]struct {
					Kinds []struct{ Group, Version, Kind string } `json:"x-kubernetes-group-version-kind"`
				} `json:"schemas"`
			} `json:"components"`
		}
		var components struct {
			Components json.RawMessage `json:"components"`
		}
		g.Expect(json.Unmarshal(text, &described)).To(Succeed())
		g.Expect(json.Unmarshal(text, &components)).To(Succeed())
		for name, schema := range described.Components.Schemas {
			for _, kind := range schema.Kinds {
				group := cmp.Or(kind.Group, kind.Version) // as kubeconform takes an apiVersion apart
				file := filepath.Join(folder, fmt.Sprintf("%s_%s_%s.json", strings.ToLower(kind.Kind), group, kind.Version))
				content := fmt.Sprintf(`{"$ref":"#/components/schemas/%s","components":%s}`, name, components.Components)
				g.Expect(os.WriteFile(file, []byte(content), 0o600)).To(Succeed())
				kinds++
			}
		}
	}
	g.Expect(kinds).To(BeNumerically(">", 50))
	return folder
}

// kubeconform checks a file with the one that make passes in KUBECONFORM.
func kubeconform(t *testing.T, schemas, file string) {
	t.Helper()
	binary := os.Getenv("KUBECONFORM")
	if binary == "" {
		t.Fatal("KUBECONFORM names no kubeconform: run `make test`, or `make bin/kubeconform` and set KUBECONFORM to the absolute path of bin/kubeconform")
	}
	location := filepath.Join(schemas, "{{.ResourceKind}}_{{.Group}}_{{.ResourceAPIVersion}}.json")
	out, err := output(exec.CommandContext(t.Context(), binary, "-summary", "-schema-location", location, file))
	if err != nil || !strings.Contains(out, "Skipped: 0") {
		t.Errorf("%v: %s", err, out)
	}
}
