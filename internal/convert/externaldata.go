package convert

import (
	"regexp"
	"strconv"
	"strings"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// maxPattern is how long a regular expression and its replacement may be here.
const maxPattern = 253

// findings converts dataFrom.
func (e *external) findings() {
	for i, from := range e.spec.DataFrom {
		field := "spec.dataFrom[" + strconv.Itoa(i) + "]"
		at := e.nextSource()
		store, ok := e.sourceOf(at, field, from.SourceRef)
		switch {
		case !ok:
		case from.Find != nil:
			e.find(at, field, store, from)
		case from.Extract != nil:
			e.extract(field, store, from)
		default:
			e.differs(at, "%s has neither find nor extract and was left out.", field)
		}
	}
}

// find becomes a source. Of the folder that the store reads, names are taken by a regular expression, and by what they begin with:
// that is what find.path means for Infisical, though it looks like a folder.
func (e *external) find(at place, field string, store externalStore, from externalFrom) {
	find := *from.Find
	s := stv1.Source{Environment: store.environment(), Path: store.path()}
	if s.Environment == "" {
		s.Environment = placeholder
		e.differs(at.to("environment"), "%s: write the environment of %s here, and its path.", field, store.title)
	}
	if store.provider != nil {
		s.Recursive = store.provider.SecretsScope.Recursive
	}
	name := ""
	if find.Name != nil {
		name = find.Name.RegExp
	}
	if find.Path != nil && *find.Path != "" {
		name = e.findPath(at, field, *find.Path, name, &s)
	}
	if name != "" {
		e.include(at, field, name, &s)
	}
	if len(find.Tags) > 0 {
		s.Tags = sortedKeys(find.Tags)
		e.differs(at.to("tags"), "%s.find.tags: External Secrets refuses it for Infisical. Here the names in it are slugs of tags, and a secret is "+
			"taken if it carries one of them.", field)
	}
	s.Rename = e.renames(at, field, from.Rewrite)
	// External Secrets replaces what cannot be in a key.
	e.result.Spec.InvalidKeys = stv1.InvalidKeysReplace
	if find.ConversionStrategy == "Unicode" {
		e.differs(spec.to("invalidKeys"), "%s.find.conversionStrategy: Unicode is not here: what cannot be in a key becomes _.", field)
	}
	if decodes(find.DecodingStrategy) {
		e.differs(at, `%s.find.decodingStrategy: %s: here each value is decoded by a template of its own: target.template.data: {KEY: "{{ .KEY | b64dec }}"}.`,
			field, printable(find.DecodingStrategy))
	}
	e.addSource(s)
}

// findPath reads what find.path may mean. It returns what names have to match.
func (e *external) findPath(at place, field, path, name string, s *stv1.Source) string {
	if strings.HasPrefix(path, "/") {
		s.Path = folder(path)
		e.differs(at.to("path"), "%s.find.path: for External Secrets it is what names begin with at Infisical, so that this one finds nothing. Here it "+
			"is the folder.", field)
		return name
	}
	if name == "" {
		return "^" + regexp.QuoteMeta(path)
	}
	e.differs(at, "%s.find has a path, which is what names begin with, and a name. Only the name is used here: write one regexp for both.", field)
	return name
}

func (e *external) include(at place, field, pattern string, s *stv1.Source) {
	if _, err := regexp.Compile(pattern); err != nil || len(pattern) > maxPattern {
		e.differs(at, "%s.find: the regular expression is none, or longer than %d characters, and was left out: all names are taken.", field, maxPattern)
		return
	}
	s.Include = []stv1.NamePattern{{Regexp: pattern}}
}

// extract takes one secret whose value is JSON. Which keys are in it nobody knows, so that there is one template as an example, which
// fails until it is edited.
func (e *external) extract(field string, store externalStore, from externalFrom) {
	raw, taken := "EXTRACTED", e.keyTaken
	for n := 2; taken(raw); n++ {
		raw = "EXTRACTED_" + strconv.Itoa(n)
	}
	e.entry(field+".extract", raw, store, *from.Extract)
	at := spec.to("target", "template")
	expression := func(name string) string { // each value is decoded, not the JSON
		return decode(from.Extract.DecodingStrategy, "("+value(".", raw)+" | fromJson)."+name)
	}
	if e.replaces() {
		e.differs(at, "%s.extract: the keys of the JSON value are not known here. Where a template has {{ .name }} of one of them, write {{ %s }}. "+
			"Until then it fails, and the target stays as it is.", field, expression("name"))
	} else {
		key := placeholderKey + strings.TrimPrefix(raw, "EXTRACTED")
		e.made[key] = func(string) string { return "(" + expression(key) + ")" }
		at = at.to("data", key)
		e.differs(at, "%s.extract: here each key of the JSON value is a template of its own: put one line for each in the place of this one. "+
			"The value itself is in the target as %s. Until then the template fails, and the target stays as it is.", field, raw)
	}
	if len(from.Rewrite) > 0 {
		e.differs(at, "%s.rewrite: name the keys as they are to be.", field)
	}
}

func (e *external) keyTaken(key string) bool {
	for _, d := range e.result.Spec.Data {
		if d.Key == key {
			return true
		}
	}
	for _, d := range e.spec.Data {
		if d.SecretKey == key {
			return true
		}
	}
	return false
}

// entries converts data. Of two entries of one key the later wins, as it does there.
func (e *external) entries() {
	last := map[string]int{}
	for i, d := range e.spec.Data {
		last[d.SecretKey] = i
	}
	for i, d := range e.spec.Data {
		field := "spec.data[" + strconv.Itoa(i) + "]"
		at := spec.to("data").index(len(e.result.Spec.Data))
		if last[d.SecretKey] != i {
			e.differs(at, "%s was left out: a later entry has the same secretKey.", field)
			continue
		}
		store, ok := e.sourceOf(at, field, d.SourceRef)
		if !ok {
			continue
		}
		e.entry(field+".remoteRef", d.SecretKey, store, d.RemoteRef)
		if made := e.making(at, field+".remoteRef", d.SecretKey, d.RemoteRef); made != nil {
			e.made[d.SecretKey] = made
		}
	}
}

// unknownPlaces keeps an entry whose store nobody knows from being read where the first source is. Without sources, and without any
// store that is known, the token's only scope is as good a guess as can be.
func (e *external) unknownPlaces() {
	if len(e.result.Spec.Sources) == 0 && e.main.provider == nil {
		return
	}
	for i := range e.result.Spec.Data {
		if entry := &e.result.Spec.Data[i]; entry.Environment == "" {
			entry.Environment = placeholder
			e.differs(spec.to("data").index(i).to("environment"), "The key %s: write the environment of its store here, and its path.", printable(entry.Key))
		}
	}
}

// entry adds a single secret under a key. Its name may have the folder before it.
func (e *external) entry(field, key string, store externalStore, ref externalRef) {
	at := spec.to("data").index(len(e.result.Spec.Data))
	entry := stv1.DataEntry{Key: key, Environment: store.environment(), Path: store.path()}
	name := ref.Key
	if i := strings.LastIndex(name, "/"); i >= 0 {
		if !strings.HasPrefix(name, "/") {
			e.differs(at, "%s.key has a folder that does not begin with /, which External Secrets refuses. Here it is taken from the root.", field)
		}
		entry.Path, name = folder(name[:i]), name[i+1:]
	}
	if name != key {
		entry.Name = name
	}
	if ref.Version != "" {
		e.differs(at, "%s.version is not here: the latest version is read.", field)
	}
	if ref.MetadataPolicy == "Fetch" {
		e.differs(at, "%s.metadataPolicy: Fetch is not here: the value is read, not the metadata.", field)
	}
	e.result.Spec.Data = append(e.result.Spec.Data, entry)
}

// making returns the expression for a key that is not the value itself, nil for one that is.
func (e *external) making(at place, field, key string, ref externalRef) func(data string) string {
	if ref.DecodingStrategy == "Auto" {
		e.differs(at, "%s.decodingStrategy: Auto is not here: the value is written as it is. Where it is base64, a template decodes it: "+
			`target.template.data: {%s: "{{ .%s | b64dec }}"}.`, field, printable(key), printable(key))
	}
	switch {
	case ref.Property == "" && !decodes(ref.DecodingStrategy):
		return nil
	case ref.Property == "":
		return func(data string) string { return "(" + decode(ref.DecodingStrategy, value(data, key)) + ")" }
	}
	// External Secrets takes the property first, and decodes it then.
	if !plainPath.MatchString(ref.Property) {
		e.differs(at, "%s.property is a search in JSON, which is not here. Until the template is written, the target stays as it is.", field)
		return func(string) string { return `(fail "write how the property is found")` }
	}
	return func(data string) string {
		return "(" + decode(ref.DecodingStrategy, property("("+value(data, key)+" | fromJson)", ref.Property)) + ")"
	}
}

func decodes(strategy string) bool { return strategy == "Base64" || strategy == "Base64URL" }

// decode adds to an expression what decodes it.
func decode(strategy, expression string) string {
	switch strategy {
	case "Base64":
		return expression + " | b64dec"
	case "Base64URL":
		return expression + ` | replace "-" "+" | replace "_" "/" | b64dec`
	}
	return expression
}

var (
	identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	plainPath  = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

// value is the expression for a key; data is "." or "$.".
func value(data, key string) string {
	if identifier.MatchString(key) {
		return data + key
	}
	return "(index " + strings.TrimSuffix(data, ".") + dotAlone(data) + " " + strconv.Quote(key) + ")"
}

// dotAlone is the dot that "." loses when it is the whole of the data.
func dotAlone(data string) string {
	if data == "." {
		return "."
	}
	return ""
}

// property is the expression for what a path such as db.port leads to in a JSON value. Elements of lists are numbers.
func property(json, path string) string {
	var fields, arguments string
	onlyFields := true
	for name := range strings.SplitSeq(path, ".") {
		fields += "." + name
		onlyFields = onlyFields && identifier.MatchString(name)
		if _, err := strconv.ParseUint(name, 10, 31); err == nil {
			arguments += " " + name
		} else {
			arguments += " " + strconv.Quote(name)
		}
	}
	if onlyFields {
		return json + fields
	}
	return "index " + json + arguments
}
