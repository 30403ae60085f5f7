package template

import (
	"strings"
	"testing"
)

// Lines like these, and thousands of random ones, were read back with dotenv 18 for Node.js, godotenv 1.5 and compose-go 2.16.
func TestDotenv(t *testing.T) {
	data := map[string][]byte{
		"A_BARE":      []byte("postgres://u:p@h:5432/db,x+y%20-z"),
		"B_EMPTY":     {},
		"C_SPACE":     []byte(" a  b "),
		"D_LINES":     []byte("-----BEGIN X-----\nabc=\r\n-----END X-----\n"),
		"E_DOLLAR":    []byte("a$b${c}$$"),
		"F_JSON":      []byte(`{"a":"b c","d":"\\n"}`),
		"G_HASH":      []byte("a #b"),
		"H_SINGLE":    []byte("it's"),
		"I_BACKSLASH": []byte(`C:\new\table`),
		"J_EQUALS":    []byte("a=b=="),
		"K_SHELL":     []byte("`id`!"),
		"L_UNICODE":   []byte("ä→\t"),
		"M_BOTH":      []byte("$x\n\"y\"\n"),
	}
	want := strings.Join([]string{
		`A_BARE=postgres://u:p@h:5432/db,x+y%20-z`,
		`B_EMPTY=`,
		`C_SPACE=" a  b "`,
		`D_LINES="-----BEGIN X-----\nabc=\r\n-----END X-----\n"`,
		`E_DOLLAR='a$b${c}$$'`,
		`F_JSON='{"a":"b c","d":"\\n"}'`,
		`G_HASH="a #b"`,
		`H_SINGLE="it's"`,
		`I_BACKSLASH='C:\new\table'`,
		`J_EQUALS="a=b=="`,
		"K_SHELL='`id`!'",
		"L_UNICODE=\"ä→\t\"",
		"M_BOTH='$x", `"y"`, "'",
		"",
	}, "\n")
	if got, err := renderOne(data, "{{ dotenv . }}"); err != nil || got != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
	}
	if got, err := renderOne(nil, `{{ dotenv (dict "B" true "N" 1 "F" 1.5) }}`); err != nil || got != "B=true\nF=1.5\nN=1\n" {
		t.Errorf("got %v %s", err, got)
	}
}

func TestDotenvRefusesWhatReadersWouldNotTakeBack(t *testing.T) {
	for _, value := range []string{`'"`, `'$`, `'\`, `$\`, "$\r", "a\x00", "\xff", `\`, "'`"} {
		if out, err := renderOne(map[string][]byte{"A": []byte(value)}, "{{ dotenv . }}"); err == nil {
			t.Errorf("%q: got %s", value, out)
		}
	}
	for _, name := range []string{"", "1A", "a-b", "a.b", "Ä", "A B", "A\n"} {
		if out, err := renderOne(map[string][]byte{name: {}}, "{{ dotenv . }}"); err == nil {
			t.Errorf("%q: got %s", name, out)
		}
	}
}
