package controllers

import (
	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// spread is how the namespaces of a ClusterServiceTokenSecret fare.
type spread struct {
	counts   stv1.NamespaceCounts
	failures []stv1.NamespaceFailure
}

const (
	// maxFailures bounds what a status lists.
	maxFailures = 20
	// maxFailureMessage is in bytes. Twenty of them are to stay small beside what an object may take.
	maxFailureMessage = 256
)

// spreadOf counts namespaces. Both lists are in the order of theirs.
func spreadOf(all []placed, failed []*placed) *spread {
	out := &spread{}
	last := ""
	for _, p := range all {
		if p.namespace != last {
			out.counts.Selected++
			last = p.namespace
		}
	}
	last = ""
	for _, p := range failed {
		if p.namespace == last {
			continue
		}
		last = p.namespace
		out.counts.Failed++
		if len(out.failures) < maxFailures {
			f := failedBy(p.err)
			out.failures = append(out.failures, stv1.NamespaceFailure{Namespace: p.namespace, Reason: f.reason, Message: cutTo(f.message, maxFailureMessage)})
		}
	}
	out.counts.Synced = out.counts.Selected - out.counts.Failed
	return out
}
