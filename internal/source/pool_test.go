package source

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
)

func TestManyObjectsOnOneSourceCostOneConditionalRequestAPeriod(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	const objects = 100
	_, release := w.hold(tokenPath) // who comes after an answer has it at once, and is told nothing
	for i := range objects {
		w.pool.Read(owner(fmt.Sprint(i)), cred, time.Minute, app)
	}
	release()
	w.expect(asked{token: 1, project: 1, sealed: 1})
	w.Expect(w.notes()).To(HaveLen(objects))
	first := w.pool.Read(owner("0"), cred, time.Minute, app).Places[app].Snapshot
	w.Expect(valuesOf(first.Secrets)).To(Equal(map[string]string{"KEY": "value"}))
	for period := range 3 {
		w.pass(time.Minute)
		w.expect(asked{token: 1, project: 1, sealed: 2 + period})
		w.Expect(w.last("/api/v3/secrets").Status).To(Equal(http.StatusNotModified))
	}
	w.Expect(w.notes()).To(BeEmpty())
	for i := range objects {
		w.Expect(w.pool.Read(owner(fmt.Sprint(i)), cred, time.Minute, app).Places[app].Snapshot).To(BeIdenticalTo(first))
	}
	w.expect(asked{token: 1, project: 1, sealed: 4})
}

func TestSourcesOfOneTokenShareItsDescription(t *testing.T) {
	w := newWorld(t, 1, devserver.WithV4(true))
	w.project.Put("dev", "/", "KEY", "value")
	cred := w.credential(devserver.TokenSpec{})
	byServer := cred
	byServer.Decryption = Server
	w.pool.Read(alice, cred, time.Minute, app, Place{Environment: "dev", Path: "/"})
	w.pool.Read(bob, byServer, time.Minute, app)
	w.expect(asked{token: 1, project: 1, sealed: 2, v4: 1})
}

func TestAChangeWakesTheReadersOfItsSourceOnly(t *testing.T) {
	w := newWorld(t, 1)
	root := Place{Environment: "prod", Path: "/"}
	w.project.Put("prod", "/", "KEY", "value")
	cred := w.credential(devserver.TokenSpec{})
	w.pool.Read(alice, cred, time.Minute, app)
	w.pool.Read(bob, cred, time.Minute, root)
	w.expect(asked{token: 1, project: 1, sealed: 2})
	w.forgetNotes()
	kept := w.pool.Read(bob, cred, time.Minute, root).Places[root].Snapshot
	w.project.Put("prod", "/app", "KEY", "changed")
	w.pass(time.Minute)
	w.values(cred, time.Minute, app, map[string]string{"KEY": "changed"})
	w.expect(asked{token: 1, project: 1, sealed: 4})
	w.Expect(w.notes()).To(Equal(map[Owner]int{alice: 1}))
	w.Expect(w.pool.Read(bob, cred, time.Minute, root).Places[root].Snapshot).To(BeIdenticalTo(kept))
}

func TestReadTellsNothingBeforeTheFirstAnswer(t *testing.T) {
	w := newWorld(t, 1)
	arrived, release := w.hold("/api/v2/service-token")
	r := w.pool.Read(alice, w.credential(devserver.TokenSpec{}), time.Minute, app)
	<-arrived
	w.Expect(r).To(Equal(Reading{Places: map[Place]Result{app: {}}}))
	release()
	w.expect(asked{token: 1, project: 1, sealed: 1})
}

func TestReadDescribesTheTokenWithoutPlaces(t *testing.T) {
	w := newWorld(t, 2)
	cred := w.credential(devserver.TokenSpec{ExpiresIn: time.Hour})
	w.Eventually(func() *Token { return w.pool.Read(alice, cred, time.Minute).Token }).ShouldNot(BeNil())
	w.expect(asked{token: 1, project: 1})
	r := w.pool.Read(alice, cred, time.Minute)
	w.Expect(r.TokenErr).NotTo(HaveOccurred())
	w.Expect(r.Token.ID).To(Equal(cred.Token.ID()))
	w.Expect(r.Token.Scopes).To(Equal(everywhere()))
	w.Expect(r.Token.ProjectVersion).To(Equal(2))
	w.Expect(r.Token.ExpiresAt.Equal(w.clock.Now().Add(time.Hour))).To(BeTrue())
	w.Expect(w.notes()).To(Equal(map[Owner]int{alice: 1}))
}

func TestTheShortestIntervalWins(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	want := asked{token: 1, project: 1, sealed: 1}
	w.pool.Read(alice, cred, 30*time.Minute, app)
	w.expect(want)

	w.pool.Read(bob, cred, time.Minute, app) // who would else wait for alice's half hour
	want.sealed++
	w.expect(want)
	w.pass(time.Minute)
	want.sealed++
	w.expect(want)

	w.pool.Read(bob, cred, 2*time.Minute, app) // longer: from the next attempt on
	w.expect(want)
	w.pass(time.Minute)
	want.sealed++
	w.expect(want)
	w.pass(time.Minute)
	w.expect(want)
	w.pass(time.Minute)
	want.sealed++
	w.expect(want)

	w.pool.Leave(bob)
	w.pass(2 * time.Minute)
	want.sealed++
	w.expect(want)
	w.pass(29 * time.Minute)
	w.expect(want)
	w.pass(time.Minute)
	want.sealed++
	w.expect(want)
}

func TestAnIntervalOfADayIsNotShortened(t *testing.T) {
	w := newWorld(t, 1)
	w.pool.Read(alice, w.credential(devserver.TokenSpec{}), 24*time.Hour, app)
	want := asked{token: 1, project: 1, sealed: 1}
	w.expect(want)
	for range 23 {
		w.pass(time.Hour)
		want.token++
		want.project++
		w.expect(want)
	}
	w.pass(time.Hour)
	want.token++
	want.project++
	want.sealed++
	w.expect(want)
}

func TestAnObjectThatJoinsDuringAnAttemptCostsNothing(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	w.pool.Read(alice, cred, time.Hour, app)
	w.expect(asked{token: 1, project: 1, sealed: 1})
	arrived, release := w.hold("/api/v3/secrets")
	w.pool.Refresh(alice)
	<-arrived
	w.pool.Read(bob, cred, time.Minute, app)
	release()
	w.expect(asked{token: 2, project: 2, sealed: 2})
	w.pass(time.Minute)
	w.expect(asked{token: 2, project: 2, sealed: 3})
}

func TestRefreshReadsNow(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	w.values(cred, time.Hour, app, map[string]string{"KEY": "value"})
	w.expect(asked{token: 1, project: 1, sealed: 1})
	w.project.Put("prod", "/app", "KEY", "changed")
	w.pool.Refresh(bob) // who reads nothing
	w.expect(asked{token: 1, project: 1, sealed: 1})
	w.pool.Refresh(alice)
	w.values(cred, time.Hour, app, map[string]string{"KEY": "changed"})
	w.expect(asked{token: 2, project: 2, sealed: 2})
}

func TestARefreshDuringAnAttemptIsNotLost(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	w.pool.Read(alice, cred, time.Hour, app)
	w.expect(asked{token: 1, project: 1, sealed: 1})
	arrived, release := w.hold("/api/v3/secrets")
	w.pool.Refresh(alice)
	<-arrived
	w.Eventually(w.asked).Should(Equal(asked{token: 2, project: 2, sealed: 1}))
	w.pool.Refresh(alice) // the answer under way may be older than what alice wants to see
	release()
	w.expect(asked{token: 3, project: 3, sealed: 3})
}

func TestKeepEndsTheReadingOfOtherPlaces(t *testing.T) {
	w := newWorld(t, 1)
	root := Place{Environment: "prod", Path: "/"}
	w.project.Put("prod", "/", "KEY", "value")
	cred := w.credential(devserver.TokenSpec{})
	w.pool.Read(alice, cred, time.Minute, app, root)
	w.pool.Read(bob, cred, time.Minute, root)
	w.expect(asked{token: 1, project: 1, sealed: 2})

	w.pool.Keep(alice, map[Place]struct{}{app: {}})
	w.pass(time.Minute)
	w.expect(asked{token: 1, project: 1, sealed: 4}) // bob still reads root
	w.project.Put("prod", "/", "KEY", "changed")
	w.forgetNotes()
	w.pass(time.Minute)
	w.expect(asked{token: 1, project: 1, sealed: 6})
	w.Expect(w.notes()).To(Equal(map[Owner]int{bob: 1}))

	w.pool.Keep(bob, nil) // no place, but still the token
	w.pool.Keep(owner("stranger"), nil)
	w.pass(time.Minute)
	w.expect(asked{token: 1, project: 1, sealed: 7})
	w.Expect(w.pool.Read(bob, cred, time.Minute).Token).NotTo(BeNil())
	w.pool.Refresh(bob)
	w.expect(asked{token: 2, project: 2, sealed: 7})
}

func TestLeaveEndsWhatNobodyReads(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	w.pool.Read(alice, cred, time.Minute, app)
	w.pool.Read(bob, cred, time.Minute, app)
	w.expect(asked{token: 1, project: 1, sealed: 1})
	w.pool.Leave(alice)
	w.pool.Leave(alice) // gone already
	w.pass(time.Minute)
	w.expect(asked{token: 1, project: 1, sealed: 2})
	w.pool.Leave(bob)
	w.rest() // without a single timer left
	w.pass(24 * time.Hour)
	w.expect(asked{token: 1, project: 1, sealed: 2})
	w.Expect(w.pool.owners).To(BeEmpty())
	w.Expect(w.pool.sessions).To(BeEmpty())
	w.Expect(w.pool.sources).To(BeEmpty())
}

func TestLeavingAbandonsTheRequestUnderWay(t *testing.T) {
	w := newWorld(t, 1)
	gone := make(chan struct{})
	arrived := make(chan struct{})
	w.interceptWith(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/api/v3/secrets" {
			return false
		}
		close(arrived)
		<-r.Context().Done()
		close(gone)
		return true
	})
	w.pool.Read(alice, w.credential(devserver.TokenSpec{}), time.Minute, app)
	<-arrived
	w.notes()
	w.pool.Leave(alice)
	<-gone
	w.rest()
	w.Expect(w.notes()).To(BeEmpty())
}

func TestARotatedTokenIsTheOnlyOneAsked(t *testing.T) {
	w := newWorld(t, 1)
	before, after := w.credential(devserver.TokenSpec{}), w.credential(devserver.TokenSpec{})
	w.values(before, time.Minute, app, map[string]string{"KEY": "value"})
	w.expect(asked{token: 1, project: 1, sealed: 1})
	w.values(after, time.Minute, app, map[string]string{"KEY": "value"})
	w.expect(asked{token: 2, project: 2, sealed: 2})
	w.pass(time.Minute)
	w.expect(asked{token: 2, project: 2, sealed: 3})
	w.Expect(w.backend.Count("", before.Token.ID())).To(Equal(3))
	w.Expect(w.pool.sessions).To(HaveLen(1))
}

func TestARotatedTokenThatIsRejectedSaysSo(t *testing.T) {
	w := newWorld(t, 1)
	good := w.credential(devserver.TokenSpec{})
	bad := w.credentialOf("st." + w.credential(devserver.TokenSpec{}).Token.ID() + ".00000000000000000000000000000000")
	w.values(good, time.Minute, app, map[string]string{"KEY": "value"})
	w.kind(bad, time.Minute, app, infisical.KindTokenRejected)
	r := w.pool.Read(alice, bad, time.Minute, app)
	w.Expect(infisical.KindOf(r.TokenErr)).To(Equal(infisical.KindTokenRejected))
	w.Expect(r.Token).To(BeNil())
	w.Expect(r.Places[app].Snapshot).To(BeNil())
	w.expect(asked{token: 2, project: 1, sealed: 1})
}

func TestCloseEndsRequestsUnderWay(t *testing.T) {
	w := newWorld(t, 1)
	arrived := make(chan struct{})
	w.interceptWith(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/api/v3/secrets" {
			return false
		}
		close(arrived)
		<-r.Context().Done()
		return true
	})
	w.pool.Read(alice, w.credential(devserver.TokenSpec{}), time.Minute, app)
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.Expect(w.pool.Start(ctx)).To(Succeed())
	w.Expect(w.clock.Waiters()).To(BeZero())
}

func TestCloseWaitsForAllPollers(t *testing.T) {
	w := newWorld(t, 1)
	telling, free := make(chan struct{}, 2), make(chan struct{})
	w.pool.notify = func(Owner) { telling <- struct{}{}; <-free }
	w.pool.Read(alice, w.credential(devserver.TokenSpec{}), time.Minute, app)
	<-telling
	closed := make(chan struct{})
	go func() { defer close(closed); w.pool.Close() }()
	<-w.pool.ctx.Done()
	w.Consistently(closed, "50ms").ShouldNot(BeClosed())
	close(free)
	<-closed
}

func TestAClosedPoolReadsNothing(t *testing.T) {
	w := newWorld(t, 1)
	w.pool.Close()
	r := w.pool.Read(alice, w.credential(devserver.TokenSpec{}), time.Minute, app)
	w.Expect(r).To(Equal(Reading{Places: map[Place]Result{app: {}}}))
	w.pool.Close() // waits for nothing
	w.Expect(w.asked()).To(Equal(asked{}))
}

func TestAClosedPoolLaunchesNothing(t *testing.T) {
	w := newWorld(t, 1)
	w.pool.Close()
	launched := false
	w.pool.mu.Lock()
	w.pool.launch(func(context.Context) { launched = true })()
	w.pool.mu.Unlock()
	w.pool.live.Wait()
	w.Expect(launched).To(BeFalse())
}

func TestWhoStartsSomethingIsToldWhenItIsDone(t *testing.T) {
	w := newWorld(t, 1)
	done := make(chan struct{})
	told := true
	w.pool.Go(alice, func(context.Context) bool { <-done; return told })
	w.Consistently(w.notes, "50ms").Should(BeEmpty())
	close(done)
	w.Eventually(w.notes).Should(Equal(map[Owner]int{alice: 1}))
	told = false
	w.pool.Go(alice, func(context.Context) bool { return told })
	w.pool.live.Wait()
	w.Expect(w.notes()).To(BeEmpty())
}

func TestWhatIsStoppedTellsNobody(t *testing.T) {
	for name, stop := range map[string]func(w *world, stop func()){
		"stopped":     func(_ *world, stop func()) { stop() },
		"pool closed": func(w *world, _ func()) { w.pool.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			stop(w, w.pool.Go(alice, func(ctx context.Context) bool { <-ctx.Done(); return true }))
			w.pool.live.Wait()
			w.Expect(w.notes()).To(BeEmpty())
		})
	}
}

func TestReadAndCloseAtTheSameTime(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 50 {
			o := owner(fmt.Sprint(i))
			w.pool.Read(o, cred, time.Minute, app)
			w.pool.Refresh(o)
			w.pool.Leave(o)
		}
	}()
	w.pool.Close()
	<-done
	w.pool.Close()
}

func TestAPoolHasItsOwnClockAndRandomness(t *testing.T) {
	g := NewWithT(t)
	p := NewPool(Options{Notify: func(Owner) {}})
	t.Cleanup(p.Close)
	g.Expect(p.clock.Now()).To(BeTemporally("~", time.Now(), time.Minute))
	g.Expect(p.random()).To(And(BeNumerically(">=", 0), BeNumerically("<", 1)))
}
