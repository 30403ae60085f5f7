package source

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/service-token-operator/service-token-operator/internal/devserver"
)

func TestAPlaceCoversItsFolderAndWithRecursionAllBelow(t *testing.T) {
	for name, tt := range map[string]struct {
		place             Place
		environment, path string
		want              bool
	}{
		"the folder":                  {Place{"prod", "/app", false}, "prod", "/app", true},
		"the root":                    {Place{"prod", "/", false}, "prod", "/", true},
		"another environment":         {Place{"prod", "/app", true}, "dev", "/app", false},
		"another folder":              {Place{"prod", "/app", true}, "prod", "/apple", false},
		"another case":                {Place{"prod", "/app", true}, "prod", "/App", false},
		"below":                       {Place{"prod", "/app", false}, "prod", "/app/db", false},
		"below, with recursion":       {Place{"prod", "/app", true}, "prod", "/app/db", true},
		"far below, with recursion":   {Place{"prod", "/app", true}, "prod", "/app/db/replica", true},
		"above, with recursion":       {Place{"prod", "/app", true}, "prod", "/", false},
		"the folder, with recursion":  {Place{"prod", "/app", true}, "prod", "/app", true},
		"the root, with recursion":    {Place{"prod", "/", true}, "prod", "/", true},
		"below root":                  {Place{"prod", "/", false}, "prod", "/app", false},
		"below root, with recursion":  {Place{"prod", "/", true}, "prod", "/app", true},
		"below root, in another case": {Place{"Prod", "/", true}, "prod", "/app", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.place.covers(tt.environment, tt.path); got != tt.want {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestAModifiedFolderIsReadNowAndNothingElse(t *testing.T) {
	w := newWorld(t, 1, devserver.WithV4(true))
	other := w.backend.AddProject(1)
	other.Put("prod", "/app", "KEY", "other")
	w.project.Put("prod", "/", "KEY", "root")
	mine := w.credential(devserver.TokenSpec{})
	byServer := mine
	byServer.Decryption = Server // is another source of the same session
	theirs := w.credentialOf(other.AddToken(devserver.TokenSpec{Scopes: everywhere()}))
	all := Place{Environment: "prod", Path: "/", Recursive: true}
	root := Place{Environment: "prod", Path: "/"}
	w.pool.Read(alice, mine, time.Hour, app, root, all)
	w.pool.Read(bob, theirs, time.Hour, app)
	w.pool.Read(owner("carol"), byServer, time.Hour, app)
	want := asked{token: 2, project: 2, sealed: 4, v4: 1}
	w.expect(want)

	w.project.Put("prod", "/app", "KEY", "changed")
	w.forgetNotes()
	w.Expect(w.pool.Modified(w.project.ID(), "prod", "/app")).To(Equal(3))
	want.sealed += 2
	want.v4++
	w.expect(want)
	w.Expect(w.notes()).To(Equal(map[Owner]int{alice: 2, owner("carol"): 1}))
	w.values(mine, time.Hour, app, map[string]string{"KEY": "changed"})

	w.Expect(w.pool.Modified(other.ID(), "prod", "/app")).To(Equal(1))
	want.sealed++
	w.expect(want)
	for _, nothing := range [][3]string{{other.ID(), "prod", "/"}, {other.ID(), "dev", "/app"}, {"", "prod", "/app"}, {"stranger", "prod", "/app"}} {
		w.Expect(w.pool.Modified(nothing[0], nothing[1], nothing[2])).To(BeZero())
	}
	w.expect(want)
	w.Expect(w.notes()).To(BeEmpty(), "what is read and the same is told to nobody")
}

func TestAFloodOfModificationsCostsTwoRequests(t *testing.T) {
	w := newWorld(t, 1)
	w.pool.Read(alice, w.credential(devserver.TokenSpec{}), time.Hour, app)
	w.expect(asked{token: 1, project: 1, sealed: 1})
	arrived, release := w.hold(sealedPath)
	w.Expect(w.pool.Modified(w.project.ID(), "prod", "/app")).To(Equal(1))
	<-arrived
	w.project.Put("prod", "/app", "KEY", "changed") // which the request under way may not see
	for range 99 {
		w.Expect(w.pool.Modified(w.project.ID(), "prod", "/app")).To(Equal(1))
	}
	release()
	w.expect(asked{token: 1, project: 1, sealed: 3})
}

func TestAFloodOfModificationsKeepsToTheRateLimit(t *testing.T) {
	const limit = 5
	w := newWorld(t, 1, devserver.WithRateLimit(limit, 60))
	cred := w.credential(devserver.TokenSpec{})
	w.values(cred, time.Hour, app, map[string]string{"KEY": "value"})
	w.rest()
	for range 20 * limit { // each after the one before was read, as long as there is something to read with
		before := w.backend.Count(sealedPath, "")
		w.pool.Modified(w.project.ID(), "prod", "/app")
		if before < limit-1 {
			w.Eventually(func() int { return w.backend.Count(sealedPath, "") }).Should(BeNumerically(">", before))
		}
	}
	w.Consistently(func() int { return w.backend.Count(sealedPath, "") }, "50ms").Should(BeNumerically("<=", limit))
	for _, r := range w.backend.Requests() {
		w.Expect(r.Status).NotTo(Equal(429))
	}
}

func TestWhatIsNotDescribedYetIsReadAnyway(t *testing.T) {
	w := newWorld(t, 1)
	arrived, release := w.hold(tokenPath)
	w.pool.Read(alice, w.credential(devserver.TokenSpec{}), time.Hour, app)
	<-arrived
	w.Expect(w.pool.Modified(w.project.ID(), "prod", "/app")).To(BeZero())
	release()
	w.expect(asked{token: 1, project: 1, sealed: 1})
}
