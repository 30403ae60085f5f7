package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"github.com/service-token-operator/service-token-operator/controllers"
)

func TestAlertsFireWhenTheyShould(t *testing.T) {
	binary := os.Getenv("PROMTOOL")
	if binary == "" {
		t.Fatal("PROMTOOL names no promtool: run `make test`, or `make bin/promtool` and set PROMTOOL to the absolute path of bin/promtool")
	}
	for _, args := range [][]string{
		{"check", "rules", "--lint=all", "--lint-fatal", filepath.Join(chartFolder, "files/alerts.yaml")},
		{"test", "rules", "alerts.yaml"},
	} {
		if out, err := output(exec.CommandContext(t.Context(), binary, args...)); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// TestMonitoringAsksForWhatIsServed looks for families that an alert, a panel or a page of the docs names and the operator does not serve.
func TestMonitoringAsksForWhatIsServed(t *testing.T) {
	g := NewWithT(t)
	served := map[string]bool{}
	for _, f := range controllers.Families() {
		served[f.Name] = true
		if f.Type == "histogram" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				served[f.Name+suffix] = true
			}
		}
	}
	files, err := filepath.Glob("../docs/*.md")
	g.Expect(err).NotTo(HaveOccurred())
	files = append(files, filepath.Join(chartFolder, "files/alerts.yaml"), filepath.Join(chartFolder, "files/dashboard.json"), "alerts.yaml", "../README.md")
	for _, file := range files {
		text, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		for _, name := range regexp.MustCompile(`\bservicetoken_[a-z_]+[a-z]`).FindAllString(string(text), -1) {
			g.Expect(served).To(HaveKey(name), file)
		}
	}
}

// TestMonitoringKnowsTheReasons looks for conditions and reasons that an alert or a panel asks for and no object ever has.
func TestMonitoringKnowsTheReasons(t *testing.T) {
	g := NewWithT(t)
	text, err := os.ReadFile("../api/v1alpha1/conditions.go")
	g.Expect(err).NotTo(HaveOccurred())
	known := map[string]bool{"": true}
	for _, constant := range regexp.MustCompile(`= "([A-Za-z]+)"`).FindAllStringSubmatch(string(text), -1) {
		known[constant[1]] = true
	}
	asked := 0
	for _, file := range []string{"alerts.yaml", "dashboard.json"} {
		text, err := os.ReadFile(filepath.Join(chartFolder, "files", file))
		g.Expect(err).NotTo(HaveOccurred())
		for _, matcher := range regexp.MustCompile(`(?:condition|reason)(?:=~|=|!~|!=)\\?"([^"\\]*)`).FindAllStringSubmatch(string(text), -1) {
			for name := range strings.SplitSeq(matcher[1], "|") {
				g.Expect(known).To(HaveKey(name), file)
				asked++
			}
		}
	}
	g.Expect(asked).To(BeNumerically(">", 15))
}

// rule is an alert.
type rule struct {
	Alert       string
	Labels      map[string]string
	Annotations map[string]string
}

// rules are the alerts in a file of rules, or in the spec of a PrometheusRule.
func rules(t *testing.T, text string) (alerts []rule) {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []rule }
	}
	NewWithT(t).Expect(yaml.Unmarshal([]byte(text), &file)).To(Succeed())
	for _, group := range file.Groups {
		alerts = append(alerts, group.Rules...)
	}
	return alerts
}

func TestEveryAlertIsTestedAndExplained(t *testing.T) {
	g := NewWithT(t)
	text, err := os.ReadFile(filepath.Join(chartFolder, "files/alerts.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	alerts := rules(t, string(text))
	g.Expect(alerts).NotTo(BeEmpty())
	tests, err := os.ReadFile("alerts.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	page, err := os.ReadFile("../docs/observability.md")
	g.Expect(err).NotTo(HaveOccurred())
	for _, rule := range alerts {
		alert := rule.Alert
		g.Expect(string(tests)).To(ContainSubstring("alertname: "+alert+"}"), "%s is never seen not to fire", alert)
		g.Expect(string(tests)).To(ContainSubstring("alertname: "+alert+"\n    exp_alerts:"), "%s is never seen to fire", alert)
		g.Expect(string(page)).To(ContainSubstring("`"+alert+"`"), alert)
	}
}

// docsURL is where the pages are that alerts lead to, unless values say otherwise.
const docsURL = "https://github.com/service-token-operator/service-token-operator/blob/main/docs"

func TestEveryAlertLeadsToALineOfTheDocs(t *testing.T) {
	g := NewWithT(t)
	text, err := os.ReadFile(filepath.Join(chartFolder, "files/alerts.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	const reason = "{{ $labels.reason | toLower }}"
	led := 0
	for _, rule := range rules(t, string(text)) {
		place, found := strings.CutPrefix(rule.Annotations["runbook_url"], docsURL+"/")
		g.Expect(found).To(BeTrue(), rule.Alert)
		g.Expect(place).To(ContainSubstring("#"), rule.Alert)
		places := []string{place}
		if strings.Contains(place, reason) {
			places = nil
			for _, of := range readyReasons(t) {
				places = append(places, strings.Replace(place, reason, strings.ToLower(of), 1))
			}
		}
		for _, place := range places {
			page, anchor, _ := strings.Cut(place, "#")
			g.Expect(anchors(t, filepath.Join("../docs", page))).To(ContainElement(anchor), rule.Alert)
			led++
		}
	}
	g.Expect(led).To(BeNumerically(">", 35))
}

// readyReasons are the reasons that the condition Ready has.
func readyReasons(t *testing.T) (reasons []string) {
	t.Helper()
	g := NewWithT(t)
	text, err := os.ReadFile("../api/v1alpha1/conditions.go")
	g.Expect(err).NotTo(HaveOccurred())
	_, of, found := strings.Cut(string(text), "// Reasons of the condition Ready")
	g.Expect(found).To(BeTrue())
	of, _, _ = strings.Cut(of, "\n)")
	for _, constant := range regexp.MustCompile(`= "([A-Za-z]+)"`).FindAllStringSubmatch(of, -1) {
		reasons = append(reasons, constant[1])
	}
	return reasons
}

func TestWhatNeedsAPersonHasTheSameSeverity(t *testing.T) {
	g := NewWithT(t)
	text, err := os.ReadFile(filepath.Join(chartFolder, "files/alerts.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	for _, rule := range rules(t, string(text)) {
		severity := "warning"
		if slices.Contains([]string{"ServiceTokenOperatorDown", "ServiceTokenRotationExceeded"}, rule.Alert) {
			severity = "critical"
		}
		g.Expect(rule.Labels).To(Equal(map[string]string{"severity": severity}), rule.Alert)
	}
}

func TestChartBringsAlertsAndDashboardWhenAskedFor(t *testing.T) {
	g := NewWithT(t)
	for _, m := range chart(t) {
		g.Expect(m.APIVersion).NotTo(HavePrefix("monitoring.coreos.com/"))
		g.Expect(m.Kind).NotTo(Equal("ConfigMap"))
	}
	manifests := chart(t, combinations["everything of metrics"]...)
	find := func(kind string, into any) {
		t.Helper()
		i := slices.IndexFunc(manifests, func(m manifest) bool { return m.Kind == kind })
		g.Expect(i).To(BeNumerically(">=", 0), kind)
		g.Expect(yaml.Unmarshal([]byte(manifests[i].source), into)).To(Succeed())
	}

	var rule struct{ Spec json.RawMessage }
	find("PrometheusRule", &rule)
	shipped, err := os.ReadFile(filepath.Join(chartFolder, "files/alerts.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(rules(t, string(rule.Spec))).To(Equal(rules(t, string(shipped))))
	m := chart(t, `metrics.prometheusRule={"enabled":true,"runbookUrl":"https://wiki.example.com/sto/"}`)
	moved := m[slices.IndexFunc(m, func(m manifest) bool { return m.Kind == "PrometheusRule" })].source
	g.Expect(moved).NotTo(ContainSubstring(docsURL))
	g.Expect(strings.Count(moved, "runbook_url: https://wiki.example.com/sto/")).To(Equal(strings.Count(string(shipped), "runbook_url: "+docsURL+"/")))

	var monitor struct {
		Metadata struct{ Labels map[string]string }
		Spec     struct {
			Selector  struct{ MatchLabels map[string]string }
			Endpoints []struct {
				Port, Interval, Scheme, BearerTokenFile string
				TLSConfig                               struct{ InsecureSkipVerify bool }
			}
		}
	}
	find("ServiceMonitor", &monitor)
	g.Expect(monitor.Metadata.Labels).To(HaveKeyWithValue("release", "prometheus"))
	g.Expect(monitor.Spec.Endpoints).To(HaveLen(1))
	endpoint := monitor.Spec.Endpoints[0]
	g.Expect([]string{endpoint.Port, endpoint.Interval, endpoint.Scheme}).To(Equal([]string{"metrics", "10s", "https"}))
	g.Expect(endpoint.BearerTokenFile).NotTo(BeEmpty())
	g.Expect(endpoint.TLSConfig.InsecureSkipVerify).To(BeTrue())
	// A certificate of the user's is verified, and what the user says of the endpoint counts, even where it is false.
	endpointOf := func(values ...string) map[string]any {
		var monitor struct {
			Spec struct{ Endpoints []map[string]any }
		}
		m := chart(t, append([]string{`metrics.serviceMonitor.enabled=true`}, values...)...)
		i := slices.IndexFunc(m, func(m manifest) bool { return m.Kind == "ServiceMonitor" })
		g.Expect(yaml.Unmarshal([]byte(m[i].source), &monitor)).To(Succeed())
		return monitor.Spec.Endpoints[0]
	}
	g.Expect(endpointOf(`metrics.certificateSecret="tls"`)["tlsConfig"]).To(Equal(map[string]any{
		"serverName": "service-token-operator-metrics." + operatorNamespace + ".svc", "ca": map[string]any{"secret": map[string]any{"name": "tls", "key": "ca.crt"}},
	}))
	told := endpointOf(`metrics.serviceMonitor.endpoint={"tlsConfig":{"insecureSkipVerify":false},"authorization":{"credentials":{"name":"token","key":"token"}}}`)
	g.Expect(told["tlsConfig"]).To(Equal(map[string]any{"insecureSkipVerify": false}))
	g.Expect(told).NotTo(HaveKey("bearerTokenFile"))
	g.Expect(endpointOf(`metrics.secure=false`)).To(And(HaveKeyWithValue("scheme", "http"), Not(HaveKey("tlsConfig"))))

	var service struct {
		Metadata struct{ Labels map[string]string }
	}
	find("Service", &service)
	for label, value := range monitor.Spec.Selector.MatchLabels {
		g.Expect(service.Metadata.Labels).To(HaveKeyWithValue(label, value))
	}

	var dashboard struct{ Data map[string]string }
	find("ConfigMap", &dashboard)
	var board struct{ Panels []json.RawMessage }
	g.Expect(json.Unmarshal([]byte(dashboard.Data["service-token-operator.json"]), &board)).To(Succeed())
	g.Expect(len(board.Panels)).To(BeNumerically(">", 10))
}
