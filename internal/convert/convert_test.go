package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

var update = flag.Bool("update", false, "write what the conversion makes to testdata")

// inputs are the files of testdata that hold manifests of other operators.
func inputs(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no inputs", err)
	}
	return files
}

func converted(t *testing.T, file string) Result {
	t.Helper()
	in, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	result, err := Convert(bytes.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestManifestsBecomeWhatTestdataHolds(t *testing.T) {
	for _, file := range inputs(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var got bytes.Buffer
			if err := converted(t, file).Write(&got); err != nil {
				t.Fatal(err)
			}
			golden := strings.Replace(file, ".in.", ".out.", 1)
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s differs; look at it, and run with -update:\n%s", golden, got.Bytes())
			}
		})
	}
}

// TestOutputsAreStrictlyOfTheAPI also says that the comments did not move anything: what is read back is what was made.
func TestOutputsAreStrictlyOfTheAPI(t *testing.T) {
	for _, file := range inputs(t) {
		for _, d := range converted(t, file).Documents {
			var read stv1.ServiceTokenSecret
			if err := yaml.UnmarshalStrict(d.YAML, &read); err != nil {
				t.Errorf("%s of %s: %v", d.From, file, err)
			}
			if read.Kind != "ServiceTokenSecret" || read.Spec.Auth.ServiceToken == nil {
				t.Errorf("%s of %s is no ServiceTokenSecret with a token", d.From, file)
			}
		}
	}
}

func TestEveryDifferenceIsAComment(t *testing.T) {
	for _, file := range inputs(t) {
		for _, d := range converted(t, file).Documents {
			var comments []string
			for line := range strings.SplitSeq(string(d.YAML), "\n") {
				if text, ok := strings.CutPrefix(strings.TrimLeft(line, " -"), "#"); ok {
					comments = append(comments, strings.Fields(text)...)
				}
			}
			text := strings.Join(comments, " ")
			for _, difference := range d.Differences {
				if !strings.Contains(text, strings.Join(strings.Fields(difference), " ")) {
					t.Errorf("%s: no comment says %q", d.From, difference)
				}
			}
		}
	}
}

func TestNothingThatIsNoReferenceIsPrinted(t *testing.T) {
	for _, file := range inputs(t) {
		result := converted(t, file)
		var all bytes.Buffer
		if err := result.Write(&all); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"st.aaaa", "user:word", "not-to-be-seen", "bm90LXRvLWJlLXNlZW4", "last-applied"} {
			if strings.Contains(all.String()+strings.Join(result.Skipped, " "), text) {
				t.Errorf("%s: %q is in the output", file, text)
			}
		}
	}
}

func TestSkippedAreNamed(t *testing.T) {
	for file, want := range map[string][]string{
		"testdata/infisicalauth.in.yaml":  {"Deployment/web", "Secret/sa"},
		"testdata/externalstores.in.yaml": {"ExternalSecret/from-vault: its store SecretStore/vault is not an Infisical one", "SecretStore/vault"},
		"testdata/static.in.yaml":         nil, // what was used is not skipped
		"testdata/externalsecret.in.yaml": nil,
	} {
		if got := converted(t, file).Skipped; !slices.Equal(got, want) {
			t.Errorf("%s: skipped %q, want %q", file, got, want)
		}
	}
}

func TestJSONIsReadLikeYAML(t *testing.T) {
	for _, file := range inputs(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var stream bytes.Buffer
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			asJSON, err := yaml.YAMLToJSON([]byte(document))
			if err != nil {
				t.Fatal(err)
			}
			stream.Write(append(asJSON, '\n'))
		}
		result, err := Convert(&stream)
		if err != nil {
			t.Fatal(file, err)
		}
		var got, want bytes.Buffer
		if err := errors.Join(result.Write(&got), converted(t, file).Write(&want)); err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Errorf("%s: JSON becomes something else", file)
		}
	}
}

func TestErrorsNameDocumentAndFieldAndNoValue(t *testing.T) {
	const infisical = "apiVersion: secrets.infisical.com/v1alpha1\nkind: InfisicalSecret\nmetadata: {name: a}\n"
	const external = "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: a}\n"
	const static = "apiVersion: secrets.infisical.com/v1beta1\nkind: InfisicalStaticSecret\nmetadata: {name: a}\n"
	for name, tc := range map[string]struct{ in, want string }{
		"no YAML":       {"a: b\n---\na: [hunter2\n", "document 2: is not YAML: line 1"},
		"no JSON":       {`{"kind": "hunter2"`, "document 1: is not JSON"},
		"no object":     {"- hunter2\n", "document 1: has a wrong type: a map is expected"},
		"no text":       {infisical + "spec: {hostAPI: 4711}\n", "document 1: spec.hostAPI: has a wrong type: a text is expected"},
		"no number":     {"{}\n---\n" + infisical + "spec: {resyncInterval: hunter2}\n", "document 2: spec.resyncInterval: has a wrong type: a whole number is expected"},
		"in a list":     {"kind: List\nitems:\n- {apiVersion: external-secrets.io/v1, kind: ExternalSecret, metadata: {name: a}, spec: {data: hunter2}}\n", "document 1: items[0].spec.data: has a wrong type: a list is expected"},
		"no name":       {strings.Replace(infisical, "a}", "'$(hunter2)'}", 1), "document 1: metadata.name: is not a name: lower-case letters, digits, - and ."},
		"no namespace":  {strings.Replace(infisical, "a}", "a, namespace: '; hunter2'}", 1), "document 1: metadata.namespace: is not a name: lower-case letters, digits and -"},
		"no target":     {infisical + "spec: {managedSecretReference: {secretName: 'A B'}}\n", "document 1: spec.managedSecretReference.secretName: is not a name: lower-case letters, digits, - and ."},
		"no interval":   {infisical + "spec: {syncConfig: {resyncInterval: hunter2}}\n", "document 1: spec.syncConfig.resyncInterval: is not an interval such as 60s, 5m, 1h, 1d or 1w"},
		"no duration":   {external + "spec: {refreshInterval: hunter2}\n", "document 1: spec.refreshInterval: is not a duration such as 1h or 10m"},
		"no policy":     {external + "spec: {target: {creationPolicy: hunter2}}\n", "document 1: spec.target.creationPolicy: is none of Owner, Orphan, Merge, CreateOrMerge and None"},
		"no kind":       {static + "spec: {targets: [{name: a, kind: hunter2}]}\n", "document 1: spec.targets[0].kind: is neither Secret nor ConfigMap"},
		"no templates":  {static + "spec: {targets: [{name: a, kind: Secret, template: {data: [hunter2]}}]}\n", "document 1: spec.targets[0].template.data: has a wrong type: a map of texts is expected, or a text"},
		"no owner":      {static + "spec: {targets: [{name: a, kind: Secret, creationPolicy: hunter2}]}\n", "document 1: spec.targets[0].creationPolicy: is neither Owner nor Orphan"},
		"no truth":      {static + "spec: {syncOptions: {instantUpdates: hunter2}}\n", "document 1: spec.syncOptions.instantUpdates: has a wrong type: true or false is expected"},
		"too many days": {static + "spec: {syncOptions: {refreshInterval: 99999999999999999999d}}\n", "document 1: spec.syncOptions.refreshInterval: is not an interval such as 60s, 5m, 1h, 1d or 1w"},
		"of a store":    {"apiVersion: external-secrets.io/v1\nkind: SecretStore\nspec: {provider: {infisical: {caBundle: [hunter2]}}}\n", "document 1: spec.provider.infisical.caBundle: has a wrong type: a text is expected"},
		"label, number": {infisical[:len(infisical)-2] + ", labels: {a: 4711}}\n", "document 1: metadata.labels: has a wrong type: a text is expected"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Convert(strings.NewReader(tc.in))
			var document *DocumentError
			if !errors.As(err, &document) || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error)  { return 0, os.ErrDeadlineExceeded }
func (broken) Write([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func TestFailuresOfReaderAndWriterAreHandedOn(t *testing.T) {
	if _, err := Convert(broken{}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	if err := (Result{Documents: []Document{{From: "a/b"}}}).Write(broken{}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

func TestNothingIsNoError(t *testing.T) {
	for _, in := range []string{"", "---\n", "# nothing\n---\n\n", "null\n"} {
		if result, err := Convert(strings.NewReader(in)); err != nil || len(result.Documents)+len(result.Skipped) > 0 {
			t.Errorf("%q: %v, %v", in, result, err)
		}
	}
}

// TestHostileTextsStayTexts puts into names and values what would break out of comments and scalars.
func TestHostileTextsStayTexts(t *testing.T) {
	for _, text := range []string{
		"yes", "0x1F", "1e3", "012", "~", "null", "=", "a: b", "a #b", "- a", "'", `"'\`, "\n", " \n x", "x \ny", "x\n\ny\n\n", "a\tb\n", "\t", "\u2028kind: Secret",
		"x\nkind: Secret", "x\r\nkind: Secret", "\x7f", "é\n", "{{ .A.Value }}\n# x", "", " ", "!!binary x", "&a", "*a", "2001-01-01", "1:30", "on\n",
	} {
		in, err := json.Marshal(map[string]any{
			"apiVersion": "secrets.infisical.com/v1alpha1", "kind": "InfisicalSecret",
			"metadata": map[string]any{"name": "a", "annotations": map[string]string{"x": text, text: "x"}},
			"spec": map[string]any{
				"managedSecretReference": map[string]any{"secretName": "a", "secretNamespace": text, "template": map[string]any{"data": map[string]string{"k": text}}},
				text:                     1,
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		result, err := Convert(bytes.NewReader(in))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		var read stv1.ServiceTokenSecret
		if err := yaml.UnmarshalStrict(result.Documents[0].YAML, &read); err != nil {
			t.Errorf("%q: %v\n%s", text, err, result.Documents[0].YAML)
			continue
		}
		template := strings.Replace(text, ".A.Value", ".A", 1)
		if a := read.Spec.Target.Annotations; read.Annotations["x"] != text || a["x"] != text || a[text] != "x" || read.Spec.Target.Template.Data["k"] != template {
			t.Errorf("%q was changed:\n%s", text, result.Documents[0].YAML)
		}
	}
}
