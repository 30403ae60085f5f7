package convert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
	kubeyaml "sigs.k8s.io/yaml"
)

// document writes the draft down.
func (d *draft) document() (Document, error) {
	d.settleToken()
	text, err := d.render()
	if err != nil {
		return Document{}, fmt.Errorf("write %s: %w", d.from.title(), err)
	}
	return Document{From: d.from.title(), YAML: text, Differences: d.differences}, nil
}

// render goes by way of JSON, which has the fields in the order of the API and leaves out what is not set. JSON is YAML, so that
// what the YAML library reads of it is the tree to which the comments are added.
func (d *draft) render() ([]byte, error) {
	text, err := json.Marshal(d.result)
	if err != nil {
		return nil, err
	}
	var root yaml.Node // of a document, which holds one map
	if err := yaml.Unmarshal(escaped(text), &root); err != nil {
		return nil, err
	}
	places := map[place]*yaml.Node{}
	arrange(root.Content[0], head, places)

	comments := d.comments
	var first []string // at the head
	for _, at := range slices.Sorted(maps.Keys(comments)) {
		// What there is nothing to stand above, because it was left out, stands above what would hold it.
		spot := at
		for spot != head && spot != spec && places[spot] == nil {
			spot = spot.parent()
		}
		if spot == head || spot == spec {
			first = append(first, comments[at]...)
			continue
		}
		if above := spot.parent(); places[above] != nil && places[above].Kind == yaml.MappingNode && places[above].Content[0] == places[spot] {
			spot = above // the first field of an item stands behind its dash
		}
		places[spot].HeadComment = joinComments(places[spot].HeadComment, comments[at])
	}

	var out bytes.Buffer
	out.WriteString(paragraphs(first))
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	if err := encoder.Encode(&root); err != nil {
		return nil, err
	}
	return out.Bytes(), encoder.Close()
}

// escaped writes what JSON may hold and YAML may not, such as DEL, in the way of YAML. It can only be within a text.
func escaped(text []byte) []byte {
	var out bytes.Buffer
	for _, r := range string(text) {
		if r >= unicode.MaxASCII && !unicode.IsPrint(r) {
			fmt.Fprintf(&out, `\U%08X`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.Bytes()
}

// arrange notes where the nodes are that comments can stand above, and gives each value the look that people write.
func arrange(n *yaml.Node, at place, places map[place]*yaml.Node) {
	n.Style = 0
	switch n.Kind {
	case yaml.MappingNode:
		if at == head { // the embedded TypeMeta has them the other way round
			c := n.Content
			c[0], c[1], c[2], c[3] = c[2], c[3], c[0], c[1]
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			below := at.to(key.Value)
			key.Style = scalarStyle(key.Value)
			places[below] = key
			if below == spec.to("refreshInterval") {
				value.Value = shortDuration(value.Value)
			}
			arrange(value, below, places)
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			places[at.index(i)] = item
			arrange(item, at.index(i), places)
		}
	case yaml.ScalarNode:
		if n.Tag == "!!str" {
			n.Style = scalarStyle(n.Value)
		}
	}
}

// scalarStyle chooses how a text is written. Readers of Kubernetes' YAML go by YAML 1.1, where on and 0x1 are no texts: a text is
// plain only if they read it as it is. Whatever is not surely the same in a block is quoted.
func scalarStyle(text string) yaml.Style {
	switch {
	case strings.Contains(text, "\n") && blockSafe(text):
		return yaml.LiteralStyle
	case strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return yaml.DoubleQuotedStyle
	case readsPlain(text):
		return 0
	case strings.ContainsAny(text, `"\`) && !strings.Contains(text, "'"):
		return yaml.SingleQuotedStyle
	}
	return yaml.DoubleQuotedStyle
}

func readsPlain(text string) bool {
	var read any
	err := kubeyaml.Unmarshal([]byte(text), &read)
	return err == nil && read == any(text) && strings.TrimSpace(text) == text
}

// blockSafe says whether a text of several lines stays what it is as a block: the spaces at the ends of lines and before the first
// one, and what is not printable, would be lost or misread.
func blockSafe(text string) bool {
	if strings.HasPrefix(text, " ") || strings.HasPrefix(text, "\n") {
		return false
	}
	for _, line := range strings.Split(text, "\n") {
		if strings.HasSuffix(line, " ") || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return false
		}
	}
	return true
}

// shortDuration takes the zeros from what Go makes of a duration: 1h0m0s is 1h.
func shortDuration(text string) string {
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// commentWidth is that of a line, without its indentation.
const commentWidth = 100

func joinComments(existing string, more []string) string {
	if existing != "" {
		more = append([]string{existing}, more...)
	}
	var lines []string
	for _, text := range more {
		lines = append(lines, wrap(text)...)
	}
	return strings.Join(lines, "\n")
}

// paragraphs is the comment at the head, each text of it for itself.
func paragraphs(texts []string) string {
	var out strings.Builder
	for i, text := range texts {
		if i > 0 {
			out.WriteString("#\n")
		}
		for _, line := range wrap(text) {
			out.WriteString("# " + line + "\n")
		}
	}
	return out.String()
}

// words splits at spaces, but for those of an action of a template.
func words(text string) []string {
	var out []string
	open := false
	for word := range strings.FieldsSeq(text) {
		if open {
			out[len(out)-1] += " " + word
		} else {
			out = append(out, word)
		}
		last := out[len(out)-1]
		open = strings.Count(last, "{{") > strings.Count(last, "}}")
	}
	return out
}

// wrap breaks lines at spaces. A line that is indented is a command, and stays one line.
func wrap(text string) []string {
	var lines []string
	for paragraph := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(paragraph, " ") {
			lines = append(lines, paragraph)
			continue
		}
		line := ""
		for _, word := range words(paragraph) {
			if line != "" && len(line)+1+len(word) > commentWidth {
				lines = append(lines, line)
				line = ""
			}
			if line != "" {
				line += " "
			}
			line += word
		}
		lines = append(lines, line)
	}
	return lines
}
