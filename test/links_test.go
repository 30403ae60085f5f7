package test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

var (
	codeBlock = regexp.MustCompile("(?s)```.*?```")
	heading   = regexp.MustCompile(`(?m)^#+ (.+)$`)
	mark      = regexp.MustCompile(`<a id="([^"]+)"></a>`)
	noWord    = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

// prose is a page of Markdown without its blocks of code.
func prose(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return codeBlock.ReplaceAllString(string(text), "")
}

// anchors are what links may name in a page after a #: its headings, in GitHub's spelling, and its marks.
func anchors(t *testing.T, page string) (all []string) {
	t.Helper()
	text := prose(t, page)
	for _, found := range heading.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.ReplaceAll(noWord.ReplaceAllString(strings.ToLower(found[1]), ""), " ", "-"))
	}
	for _, found := range mark.FindAllStringSubmatch(text, -1) {
		all = append(all, found[1])
	}
	return all
}

func TestLinksOfTheDocsLeadSomewhere(t *testing.T) {
	g := NewWithT(t)
	pages := []string{"../README.md", "../CONTRIBUTING.md", "../SECURITY.md", filepath.Join(chartFolder, "README.md")}
	for _, folder := range []string{"../docs/*.md", "../docs/howto/*.md"} {
		found, err := filepath.Glob(folder)
		g.Expect(err).NotTo(HaveOccurred())
		pages = append(pages, found...)
	}
	followed := 0
	for _, page := range pages {
		named := anchors(t, page)
		g.Expect(slices.Compact(slices.Sorted(slices.Values(named)))).To(HaveLen(len(named)), "%s has two headings or marks of one name", page)
		for _, found := range link.FindAllStringSubmatch(prose(t, page), -1) {
			if strings.Contains(found[1], "://") || strings.HasPrefix(found[1], "mailto:") {
				continue
			}
			file, anchor, anchored := strings.Cut(found[1], "#")
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
			}
			g.Expect(target).To(BeAnExistingFile(), "%s: %s", page, found[1])
			if anchored {
				g.Expect(anchors(t, target)).To(ContainElement(anchor), "%s: %s", page, found[1])
			}
			followed++
		}
	}
	g.Expect(followed).To(BeNumerically(">", 100))
}
