package webhook

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestThePodIsLabeledWhileItLeads(t *testing.T) {
	g := NewWithT(t)
	name := types.NamespacedName{Namespace: "operators", Name: "sto-1"}
	c := fake.NewClientBuilder().WithObjects(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: name.Namespace, Name: name.Name, Labels: map[string]string{LeaderLabel: "true", "app": "x"}, // of a process before
	}}).Build()
	label := func() string {
		pod := &corev1.Pod{}
		g.Expect(c.Get(t.Context(), name, pod)).To(Succeed())
		g.Expect(pod.Labels).To(HaveKeyWithValue("app", "x"))
		return pod.Labels[LeaderLabel]
	}
	leads := make(chan struct{})
	leader := &Leader{Client: c, Pod: name, Leads: leads}
	g.Expect(leader.NeedLeaderElection()).To(BeFalse())
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { ended <- leader.Start(ctx) }()
	g.Eventually(label).Should(Equal("false"))
	close(leads)
	g.Eventually(label).Should(Equal("true"))
	g.Eventually(ended).Should(Receive(BeNil()))

	failing := interceptor.NewClient(c, interceptor.Funcs{Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
		return errors.New("no API server")
	}})
	ended = make(chan error, 1)
	go func() { ended <- (&Leader{Client: failing, Pod: name, Leads: leads}).Start(ctx) }()
	g.Consistently(ended, "300ms").ShouldNot(Receive(), "it tries on")
	cancel()
	g.Eventually(ended).Should(Receive(BeNil()), "the operator does not end for it")

	ctx = t.Context()
	c = fake.NewClientBuilder().Build()
	g.Expect((&Leader{Client: c, Pod: name, Leads: leads}).Start(ctx)).To(Succeed(), "a process that is no pod of the cluster")
}
