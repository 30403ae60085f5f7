package template

import (
	"encoding/base32"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/DataDog/datadog-agent/pkg/template/text"
)

// texts are sprig's functions about texts whose failure would go unnoticed: they put the error's text, or nothing, into the Secret.
func texts() template.FuncMap {
	return template.FuncMap{
		// The message could hold a value, and so could whatever is put in front of it.
		"fail": func(string) (string, error) { return "", &reason{link: ": ", text: "the template says so"} },
		// Byte by byte, as sprig does it, what is not ASCII would become something else.
		"nospace": func(text string) string { return strings.Join(strings.Fields(text), "") },
		"b64dec": func(text string) (string, error) {
			decoded, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return "", because("that is no base64")
			}
			return string(decoded), nil
		},
		"b32dec": func(text string) (string, error) {
			decoded, err := base32.StdEncoding.DecodeString(text)
			if err != nil {
				return "", because("that is no base32")
			}
			return string(decoded), nil
		},
		"atoi": func(text string) (int, error) {
			n, err := strconv.Atoi(text)
			if err != nil {
				return 0, because("that is no number")
			}
			return n, nil
		},
	}
}
