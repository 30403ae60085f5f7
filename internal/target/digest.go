package target

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// recordKey is where a cached Secret holds its record in place of data. No Secret at an API server can have a key like it.
const recordKey = "record:hmac-sha256"

const sumLen = sha256.Size

// digest stands for the data of a Secret. It is comparable.
type digest [sumLen]byte

// Digester turns Secret data into digests: HMAC-SHA-256 with a random key that is made at start and never stored. A plain
// hash of a short secret would be as good as the secret; this one is of no use outside the process.
type Digester struct {
	key [sumLen]byte
	// labels are those of most managed Secrets, which share them in the cache: a map for each is a fifth of what one costs there.
	labels map[string]string
}

// NewDigester returns a Digester with a key of its own.
func NewDigester() (Digester, error) {
	d := Digester{labels: map[string]string{ManagedByLabel: ManagedByValue}}
	if _, err := rand.Read(d.key[:]); err != nil {
		return Digester{}, fmt.Errorf("make a key for digests: %w", err)
	}
	return d, nil
}

// Transform is for the cache: it replaces a Secret's data by a record of its digest and of the metadata that we set, and
// drops managedFields and kubectl's annotation with the last applied manifest, which repeats the data. Other objects pass
// as they are. The informer may call it again on its own result, which then stays the same; the record is sealed with the
// key, so no Secret can come with a record of its own making.
func (d Digester) Transform(obj any) (any, error) {
	secret, ok := obj.(*corev1.Secret)
	if !ok {
		return obj, nil
	}
	if _, already := d.open(secret); already {
		return secret, nil
	}
	sum := d.sum(secret.Data)
	record := slices.Concat(sum[:], []byte(metaSetBy(secret).String()))
	secret.Data = map[string][]byte{recordKey: slices.Concat(d.seal(secret, record), record)}
	secret.StringData = nil
	secret.ManagedFields = nil
	delete(secret.Annotations, corev1.LastAppliedConfigAnnotation)
	d.share(secret)
	return secret, nil
}

// share lets a Secret have in common with others in the cache what most of them have: nothing in a cache is ever changed.
func (d Digester) share(secret *corev1.Secret) {
	if maps.Equal(secret.Labels, d.labels) {
		secret.Labels = d.labels
	}
	common := []*string{&secret.APIVersion, &secret.Kind, &secret.Namespace}
	for i := range secret.OwnerReferences {
		common = append(common, &secret.OwnerReferences[i].APIVersion, &secret.OwnerReferences[i].Kind)
	}
	for _, text := range common {
		*text = unique.Make(*text).Value()
	}
	secret.Type = unique.Make(secret.Type).Value()
}

// of returns the digest of a Secret's data, from the cache or not.
func (d Digester) of(secret *corev1.Secret) digest {
	if record, ok := d.open(secret); ok {
		return digest(record[:sumLen])
	}
	return d.sum(secret.Data)
}

// metaOf returns which metadata of a Secret we set, from the cache or not.
func (d Digester) metaOf(secret *corev1.Secret) meta {
	if record, ok := d.open(secret); ok {
		return parseMeta(string(record[sumLen:]))
	}
	return metaSetBy(secret)
}

// sum is the digest of data: of its sorted keys and their values, each with its length in front.
func (d Digester) sum(data map[string][]byte) digest {
	mac := hmac.New(sha256.New, d.key[:])
	mac.Write([]byte("data"))
	part := func(b []byte) {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		mac.Write(b)
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		part([]byte(key))
		part(data[key])
	}
	return digest(mac.Sum(nil))
}

// seal authenticates a record for this one Secret.
func (d Digester) seal(secret *corev1.Secret, record []byte) []byte {
	mac := hmac.New(sha256.New, d.key[:])
	fmt.Fprintf(mac, "record %s/%s ", secret.Namespace, secret.Name)
	mac.Write(record)
	return mac.Sum(nil)
}

// open returns the record of a Secret that was transformed by this Digester.
func (d Digester) open(secret *corev1.Secret) (record []byte, ok bool) {
	sealed := secret.Data[recordKey]
	if len(secret.Data) != 1 || len(sealed) < 2*sumLen {
		return nil, false
	}
	record = sealed[sumLen:]
	return record, hmac.Equal(sealed[:sumLen], d.seal(secret, record))
}

// meta names the labels and annotations that we set on a Secret besides our own, so that what a user no longer wants
// is found without the managedFields, which the cache does not keep. For most Secrets it is empty.
type meta struct {
	labels, annotations names
}

// leftBehind says whether something that we set is no longer wanted.
func (m meta) leftBehind(d Desired) bool {
	return lacks(d.Labels, m.labels) || lacks(d.Annotations, m.annotations)
}

func lacks(have map[string]string, set names) bool {
	for name := range set {
		if _, ok := have[name]; !ok {
			return true
		}
	}
	return false
}

// String is the form in the record: names, which hold neither white space nor line ends, labels first.
func (m meta) String() string {
	if m.labels.Len()+m.annotations.Len() == 0 {
		return ""
	}
	return strings.Join(sets.List(m.labels), " ") + "\n" + strings.Join(sets.List(m.annotations), " ")
}

func parseMeta(text string) meta {
	labels, annotations, _ := strings.Cut(text, "\n")
	return meta{labels: names{}.Insert(strings.Fields(labels)...), annotations: names{}.Insert(strings.Fields(annotations)...)}
}
