package infisical

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// answerBody is what the server says of that many secrets with values of that size, with the fields that are not read here.
func answerBody(b *testing.B, key servicetoken.ProjectKey, secrets, size int) []byte {
	b.Helper()
	list := make([]map[string]any, secrets)
	for i := range list {
		id := fmt.Sprintf("9a05ba10-be1c-442d-b05d-%012d", i)
		list[i] = map[string]any{
			"id": id, "_id": id, "version": 1, "type": "shared", "algorithm": "aes-256-gcm", "keyEncoding": "utf8", "folderId": id,
			"createdAt": "2026-11-23T15:00:00.000Z", "updatedAt": "2026-11-23T15:00:00.000Z",
			"environment": anyQuery.Environment, "secretPath": anyQuery.Path, "tags": []any{},
		}
		maps.Copy(list[i], fields(b, key, "secretKey", fmt.Appendf(nil, "KEY_%d", i)))
		maps.Copy(list[i], fields(b, key, "secretValue", bytes.Repeat([]byte("v"), size)))
		maps.Copy(list[i], fields(b, key, "secretComment", nil))
	}
	body, err := json.Marshal(map[string]any{"secrets": list})
	if err != nil {
		b.Fatal(err)
	}
	return body
}

// BenchmarkEncryptedAnswer is the way from an answer's bytes to plaintext: JSON, base64, and the cipher.
func BenchmarkEncryptedAnswer(b *testing.B) {
	key := anyProjectKey(b)
	open := func(s servicetoken.Sealed) {
		if _, err := key.Open(s); err != nil {
			b.Fatal(err)
		}
	}
	for _, load := range []struct{ secrets, size int }{{1000, 64}, {100, 60 << 10}} {
		b.Run(fmt.Sprintf("secrets=%d/bytes=%d", load.secrets, load.size), func(b *testing.B) {
			r := reply{body: answerBody(b, key, load.secrets, load.size)}
			b.SetBytes(int64(load.secrets * load.size))
			b.ReportAllocs()
			for b.Loop() {
				answer, err := decodeAnswer(routeEncrypted, r, anyQuery, sealedWire.secret)
				if err != nil {
					b.Fatal(err)
				}
				for _, s := range answer.Secrets {
					open(s.Name)
					open(s.Value)
				}
			}
		})
	}
}
