// Package lab starts what the demo and the benchmark work with: a control plane, the operator's binary as the account that
// config/ makes for it, and other processes beside them. Everything it starts, it ends.
package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// The account that config/ gives its permissions to.
const (
	Namespace      = "service-token-operator-system"
	serviceAccount = "service-token-operator-controller-manager"
)

// Cluster is an etcd and a kube-apiserver, on loopback, and nothing else: no pods run, and nothing collects garbage.
type Cluster struct {
	Config     *rest.Config // an admin's
	Kubeconfig string       // file with the same

	dir, assets string
	env         *envtest.Environment
}

// StartCluster starts a control plane with the binaries in assets. Files go into dir, which the caller removes.
func StartCluster(assets, dir string) (*Cluster, error) {
	c := &Cluster{
		Kubeconfig: filepath.Join(dir, "kubeconfig"), dir: dir, assets: assets,
		env: &envtest.Environment{BinaryAssetsDirectory: assets},
	}
	var err error
	if c.Config, err = c.env.Start(); err == nil {
		err = os.WriteFile(c.Kubeconfig, c.env.KubeConfig, 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, c.env.Stop())
	}
	return c, nil
}

// Install applies config/default of the repository at root.
func (c *Cluster) Install(ctx context.Context, root string) error {
	_, err := c.Kubectl(ctx, "", "apply", "--server-side", "-k", filepath.Join(root, "config/default"))
	return err
}

// OperatorKubeconfig writes a kubeconfig with the permissions of the operator's ServiceAccount, and returns the file.
func (c *Cluster) OperatorKubeconfig() (string, error) {
	user, err := c.env.AddUser(envtest.User{
		Name: "system:serviceaccount:" + Namespace + ":" + serviceAccount, Groups: []string{"system:serviceaccounts", "system:authenticated"},
	}, &rest.Config{})
	if err != nil {
		return "", err
	}
	config, err := user.KubeConfig()
	if err != nil {
		return "", err
	}
	file := filepath.Join(c.dir, "operator-kubeconfig")
	return file, os.WriteFile(file, config, 0o600)
}

// Kubectl runs kubectl as an admin and returns what it prints.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.assets, "kubectl"), append([]string{"--kubeconfig", c.Kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

// Stop ends it, with all that was in it.
func (c *Cluster) Stop() error { return c.env.Stop() }
