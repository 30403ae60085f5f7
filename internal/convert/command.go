package convert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// inCluster are the kinds that are read from a cluster: what is converted, and what says where that comes from. Of one in two versions the
// first that the cluster has counts. No Secret is among them.
var inCluster = [][]schema.GroupVersionKind{
	{{Group: "secrets.infisical.com", Version: "v1alpha1", Kind: "InfisicalSecret"}},
	{{Group: "secrets.infisical.com", Version: "v1beta1", Kind: "InfisicalStaticSecret"}},
	{{Group: "secrets.infisical.com", Version: "v1beta1", Kind: "InfisicalAuth"}},
	{{Group: "secrets.infisical.com", Version: "v1beta1", Kind: "InfisicalConnection"}},
	{{Group: "external-secrets.io", Version: "v1", Kind: "ExternalSecret"}, {Group: "external-secrets.io", Version: "v1beta1", Kind: "ExternalSecret"}},
	{{Group: "external-secrets.io", Version: "v1", Kind: "SecretStore"}, {Group: "external-secrets.io", Version: "v1beta1", Kind: "SecretStore"}},
	{{Group: "external-secrets.io", Version: "v1", Kind: "ClusterSecretStore"}, {Group: "external-secrets.io", Version: "v1beta1", Kind: "ClusterSecretStore"}},
}

// Command is `convert`: it reads manifests from files, from in, or from the cluster that connect leads to, and writes what they become
// to out, and what it skipped to notes.
func Command(ctx context.Context, args []string, in io.Reader, out, notes io.Writer, connect func() (client.Reader, error)) error {
	var (
		files     []string
		namespace string
		all       bool
	)
	fs := pflag.NewFlagSet("convert", pflag.ContinueOnError)
	fs.StringSliceVarP(&files, "filename", "f", nil, "Files with InfisicalSecrets or ExternalSecrets and the stores that these name; - is standard input.")
	fs.StringVarP(&namespace, "namespace", "n", "", "Convert what is in this namespace of the cluster that the kubeconfig leads to.")
	fs.BoolVarP(&all, "all-namespaces", "A", false, "Convert what is in all namespaces of that cluster.")
	fs.Usage = func() {
		fmt.Fprintf(notes, "Prints the ServiceTokenSecret for each InfisicalSecret, InfisicalStaticSecret and ExternalSecret, with a comment for what differs.\n\n%s", fs.FlagUsages())
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	var manifests bytes.Buffer
	switch fromCluster := namespace != "" || all; {
	case fs.NArg() > 0:
		return fmt.Errorf("convert: unexpected argument %q; files are named by -f", fs.Arg(0))
	case fromCluster == (len(files) > 0) || namespace != "" && all:
		return errors.New("convert: name files with -f, or a namespace with -n, or all of them with -A")
	case fromCluster:
		reader, err := connect()
		if err != nil {
			return err
		}
		if err := readCluster(ctx, reader, namespace, &manifests); err != nil {
			return err
		}
	default:
		for _, file := range files {
			if err := readFile(file, in, &manifests); err != nil {
				return err
			}
		}
	}
	result, err := Convert(&manifests)
	if err != nil {
		return err
	}
	for _, skipped := range result.Skipped {
		fmt.Fprintf(notes, "skipped %s\n", skipped)
	}
	if len(result.Documents) == 0 {
		return errors.New("convert: there is nothing to convert: no InfisicalSecret, InfisicalStaticSecret or ExternalSecret of an Infisical store")
	}
	return result.Write(out)
}

func readFile(name string, in io.Reader, to *bytes.Buffer) error {
	to.WriteString("\n---\n")
	if name == "-" {
		_, err := io.Copy(to, in)
		return err
	}
	text, err := os.ReadFile(name) //nolint:gosec // the file that the user names
	to.Write(text)
	return err
}

// readCluster writes all objects of the kinds as manifests. A kind that the cluster does not have has no objects.
func readCluster(ctx context.Context, reader client.Reader, namespace string, to *bytes.Buffer) error {
	for _, versions := range inCluster {
		for _, kind := range versions {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
			var options []client.ListOption
			if kind.Kind != "ClusterSecretStore" {
				options = append(options, client.InNamespace(namespace))
			}
			err := reader.List(ctx, list, options...)
			if meta.IsNoMatchError(err) {
				continue
			}
			if err != nil {
				return fmt.Errorf("convert: list %s: %w", kind.Kind, err)
			}
			for i := range list.Items {
				text, err := yaml.Marshal(list.Items[i].Object)
				if err != nil {
					return err
				}
				to.WriteString("\n---\n")
				to.Write(text)
			}
			break
		}
	}
	return nil
}
