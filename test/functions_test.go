package test

import (
	"os"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	templates "github.com/service-token-operator/service-token-operator/internal/template"
)

func TestTheDocsListTheFunctionsOfTemplates(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile("../docs/howto/template.md")
	g.Expect(err).NotTo(HaveOccurred())
	_, list, found := strings.Cut(string(page), "```text\n")
	g.Expect(found).To(BeTrue())
	list, _, _ = strings.Cut(list, "```")
	g.Expect(strings.Fields(list)).To(Equal(templates.Functions()))
}
