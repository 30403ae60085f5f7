package servicetoken

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const (
	testID     = "116f1af5-f399-4106-8b5d-3493a804f0a5"
	testSecret = "de1b61d85259529cdfcedc541c2529ab"
	testKey    = "2e8ed2b8ea09c943e35233e5da049b96"
	testToken  = "st." + testID + "." + testSecret + "." + testKey
)

func TestParseAcceptsWhatServersIssue(t *testing.T) {
	for name, tt := range map[string]struct {
		raw    string
		bearer string
		key    bool
	}{
		"four parts":               {testToken, "st." + testID + "." + testSecret, true},
		"three parts":              {"st." + testID + "." + testSecret, "st." + testID + "." + testSecret, false},
		"an old server's id":       {"st.65f1c0ffee65f1c0ffee65f1." + testSecret + "." + testKey, "st.65f1c0ffee65f1c0ffee65f1." + testSecret, true},
		"white space around":       {" \t" + testToken + "\r\n", "st." + testID + "." + testSecret, true},
		"upper-case letters in id": {"st." + strings.ToUpper(testID) + "." + testSecret, "st." + strings.ToUpper(testID) + "." + testSecret, false},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := Parse(tt.raw)
			if err != nil {
				t.Fatal(err)
			}
			if token.Bearer() != tt.bearer || token.HasKey() != tt.key {
				t.Errorf("bearer %q, has key %v", token.Bearer(), token.HasKey())
			}
			if strings.Contains(token.Bearer(), testKey) {
				t.Error("the key is part of the bearer")
			}
		})
	}
}

func TestParseNamesEachMalformation(t *testing.T) {
	for name, tt := range map[string]struct {
		raw  string
		want error
	}{
		"nothing":              {"", ErrEmpty},
		"white space":          {" \n", ErrEmpty},
		"another prefix":       {"sk." + testID + "." + testSecret, ErrPrefix},
		"a prefix alone":       {"st", ErrPrefix},
		"two parts":            {"st." + testID, ErrParts},
		"five parts":           {testToken + ".x", ErrParts},
		"no id":                {"st.." + testSecret, ErrID},
		"id of wrong length":   {"st.116f1af5." + testSecret, ErrID},
		"id not hex":           {"st.z16f1af5-f399-4106-8b5d-3493a804f0a5." + testSecret, ErrID},
		"secret too short":     {"st." + testID + ".de1b", ErrSecret},
		"secret upper-case":    {"st." + testID + "." + strings.ToUpper(testSecret), ErrSecret},
		"key empty":            {"st." + testID + "." + testSecret + ".", ErrKey},
		"key too long":         {testToken + "0", ErrKey},
		"space inside":         {"st." + testID + " ." + testSecret, ErrID},
		"quotes around":        {`"` + testToken + `"`, ErrPrefix},
		"far too long":         {"st." + strings.Repeat("a", 4096), ErrTooLarge},
		"a placeholder":        {"st.<id>.<secret>.<key>", ErrID},
		"NUL":                  {"st.\x00." + testSecret, ErrID},
		"base64 of a token":    {"c3QuMTE2ZjFhZjU", ErrPrefix},
		"newline in the midst": {"st." + testID + "\n." + testSecret, ErrID},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(tt.raw)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if strings.Contains(err.Error(), testSecret) || strings.Contains(err.Error(), testKey) {
				t.Error("the error holds a part of the token")
			}
		})
	}
}

func TestTokenPrintsRedactedWhicheverWayItIsPrinted(t *testing.T) {
	token, err := Parse(testToken)
	if err != nil {
		t.Fatal(err)
	}
	holder := struct {
		Token *Token
		Map   map[Token]Token
	}{&token, map[Token]Token{token: token}}
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(handler).Info("m", "token", token, "pointer", &token, "holder", holder)
	}
	asJSON, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{log.String(), string(asJSON), token.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		texts = append(texts, fmt.Sprintf(verb, token), fmt.Sprintf(verb, &token), fmt.Sprintf(verb, []Token{token}), fmt.Sprintf(verb, holder.Map))
	}
	for _, text := range texts {
		for _, part := range []string{testSecret, testKey, fmt.Sprintf("%x", testSecret), fmt.Sprintf("%X", testKey)} {
			if strings.Contains(text, part) {
				t.Errorf("a part of the token in %q", text)
			}
		}
	}
	if got := fmt.Sprint(token); got != "st."+testID+".***" {
		t.Errorf("printed as %q", got)
	}
	if got := (Token{}).String(); got != "st.***" {
		t.Errorf("the zero token is printed as %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(testToken)
	f.Add("st.." + testSecret)
	f.Add("")
	f.Fuzz(func(t *testing.T, raw string) {
		token, err := Parse(raw)
		if err != nil {
			if token != (Token{}) {
				t.Error("a token comes with an error")
			}
			return
		}
		again := token.Bearer()
		if token.HasKey() {
			again += "." + token.key
		}
		if again != strings.TrimSpace(raw) {
			t.Error("the parts do not make the token")
		}
	})
}
