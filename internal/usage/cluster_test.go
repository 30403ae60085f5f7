package usage

import (
	"context"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

const (
	tokenA = "aaaaaaaa-0000-4000-8000-000000000001"
	tokenB = "0123456789abcdef01234567"
)

// cluster is a store that counts and can fail.
type cluster struct {
	client.WithWatch
	reads, writes atomic.Int64
	failRead      atomic.Pointer[error]
	failWrite     atomic.Pointer[error]
	loseAnswer    atomic.Pointer[error] // the write is stored, and answered with this
	beforeWrite   func()                // runs between a ledger's read and its write
}

func newCluster(objects ...client.Object) *cluster {
	c := &cluster{}
	write := func(f func() error) error {
		c.writes.Add(1)
		if c.beforeWrite != nil {
			hook := c.beforeWrite
			c.beforeWrite = nil
			hook()
		}
		if err := c.failWrite.Load(); err != nil {
			return *err
		}
		err := f()
		if lost := c.loseAnswer.Load(); lost != nil {
			return *lost
		}
		return err
	}
	c.WithWatch = fake.NewClientBuilder().WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, w client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			c.reads.Add(1)
			if err := c.failRead.Load(); err != nil {
				return *err
			}
			return w.Get(ctx, key, o, opts...)
		},
		Create: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return write(func() error { return w.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return write(func() error { return w.Update(ctx, o, opts...) })
		},
	}).Build()
	return c
}

func (c *cluster) marks(t *testing.T) map[string]string {
	t.Helper()
	cm := &corev1.ConfigMap{}
	err := c.Get(t.Context(), client.ObjectKey{Namespace: "ops", Name: DefaultName}, cm)
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return cm.Data
}

func (c *cluster) edit(t *testing.T, change func(*corev1.ConfigMap)) {
	t.Helper()
	cm := &corev1.ConfigMap{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "ops", Name: DefaultName}, cm); err != nil {
		t.Fatal(err)
	}
	change(cm)
	if err := c.Update(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) ledger(o Options) *Ledger {
	o.Reader, o.Writer, o.Namespace = c, c, "ops"
	return NewLedger(o)
}

func marksMap(data map[string]string) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{Data: data}
	cm.Namespace, cm.Name = "ops", DefaultName
	return cm
}

func spend(t *testing.T, l *Ledger, id string, times int) {
	t.Helper()
	for range times {
		if err := l.Use(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
}

// run starts the ledger as the manager does and returns what stops it gracefully.
func run(t *testing.T, l *Ledger) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Start(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Start: %v", err)
		}
	}
}
