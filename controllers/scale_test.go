package controllers

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/devserver"
)

// TestAThousandObjectsAskForTwentySources has a server as they are self-hosted: 85 ms of work for each request, 40 requests a
// minute for secrets and 60 for the rest. It is asked once for each token, project and source, never beyond its limit, and when
// all is done nothing is written any more.
func TestAThousandObjectsAskForTwentySources(t *testing.T) {
	const objects, sources, tokens = 1000, 20, 4
	w := newClusterWorld(t)
	w.infisical = devserver.New(devserver.WithLatency(85*time.Millisecond), devserver.WithRateLimit(40, 60))
	server := httptest.NewServer(w.infisical)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.project = w.infisical.AddProject(1)
	for i := range sources {
		for key := range 10 {
			w.project.Put("prod", fmt.Sprintf("/s%d", i), fmt.Sprintf("KEY_%d", key), fmt.Sprintf("%064d", i))
		}
	}
	for i := range tokens {
		w.putSecret(fmt.Sprintf("token-%d", i), map[string]string{"token": w.token()})
	}
	var making sync.WaitGroup
	for worker := range 10 {
		making.Go(func() {
			for i := worker; i < objects; i += 10 {
				obj := &stv1.ServiceTokenSecret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: fmt.Sprintf("o%d", i)}}
				obj.Spec.Auth.ServiceToken = &stv1.ServiceTokenAuth{SecretRef: stv1.SecretKeyRef{Name: fmt.Sprintf("token-%d", i%sources%tokens)}}
				obj.Spec.Sources = []stv1.Source{{Environment: "prod", Path: fmt.Sprintf("/s%d", i%sources)}}
				obj.Spec.RefreshInterval = metav1.Duration{Duration: time.Minute}
				if err := w.client.Create(w.ctx, obj); err != nil {
					t.Error(err)
				}
			}
		})
	}
	making.Wait()

	start := time.Now()
	w.workers = 16
	w.start()
	w.Eventually(func() int {
		var list stv1.ServiceTokenSecretList
		w.Expect(w.client.List(w.ctx, &list, client.InNamespace(w.ns))).To(Succeed())
		ready := 0
		for _, o := range list.Items {
			if meta.IsStatusConditionTrue(o.Status.Conditions, stv1.ConditionReady) {
				ready++
			}
		}
		return ready
	}, "2m", "100ms").Should(Equal(objects))
	t.Logf("all Ready after %.1f s, with %d requests to the server", time.Since(start).Seconds(), w.infisical.Count("", ""))

	w.Expect(w.infisical.Count("", "")).To(Equal(tokens + tokens + sources))
	for _, r := range w.infisical.Requests() {
		w.Expect(r.Status).To(Equal(http.StatusOK), r.Route)
	}
	var secrets corev1.SecretList
	w.Expect(w.client.List(w.ctx, &secrets, client.InNamespace(w.ns))).To(Succeed())
	right := 0
	for _, s := range secrets.Items {
		var i int
		if _, err := fmt.Sscanf(s.Name, "o%d", &i); err == nil {
			w.Expect(s.Data).To(HaveLen(10))
			w.Expect(string(s.Data["KEY_9"])).To(Equal(fmt.Sprintf("%064d", i%sources)))
			right++
		}
	}
	w.Expect(right).To(Equal(objects))

	written := w.writes.seen()
	w.Expect(len(written)).To(BeNumerically("<", 2*objects+2*tokens+2), "one Secret and one status each, and the uses of tokens")
	w.Consistently(func() int { return len(w.writes.seen()) }, "3s", "200ms").Should(Equal(len(written)), "nothing is written while nothing changes")
}
