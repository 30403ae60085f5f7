package webhook

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzDelivery holds whatever is sent, signed or not, to what the rest of the operator relies on.
func FuzzDelivery(f *testing.F) {
	f.Add("t=1764000000000;"+strings.Repeat("0f", 32), `{"event":"secrets.modified","project":{"workspaceId":"a","environment":"b","secretPath":"/c"},"timestamp":1764000000000}`)
	f.Add("t=;", `{"event":"test","timestamp":-1}`)
	f.Add(strings.Repeat("0f", 32), `[[[[`)
	f.Add("t=1;"+strings.Repeat("é", 32), `{"event":"secrets.modified","project":{"workspaceId":"a","environment":"b","secretPath":"//"},"timestamp":1e3}`)
	f.Fuzz(func(t *testing.T, header, body string) {
		signature, ok := parseSignature(header)
		if ok && !strings.EqualFold(header[strings.Index(header, ";")+1:], hex.EncodeToString(signature[:])) {
			t.Errorf("%x of %q", signature, header)
		}
		if signed([]byte(body), signature, [][]byte{[]byte(secret), nil}) {
			t.Error("it was not made with the secret")
		}
		d, err := parse([]byte(body))
		if err != nil {
			return
		}
		if age := time.Unix(0, 0).Sub(time.UnixMilli(d.Timestamp)).Abs(); age < 0 {
			t.Errorf("the age of %d", d.Timestamp)
		}
		c, ok := d.change()
		if !ok {
			return
		}
		if c.ProjectID == "" || c.Environment == "" || c.Path == "" || c.Path[0] != '/' || utf8.RuneCountInString(c.ProjectID+c.Environment+c.Path) > 2*maxName+maxPath {
			t.Errorf("%+v", c)
		}
	})
}
