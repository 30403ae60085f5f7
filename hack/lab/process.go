package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Process is a command that runs beside us, with its output in a file.
type Process struct {
	Log string // the file

	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended, as err says
	err    error
}

// Start starts a command, whose output goes to the end of the file log. env is added to ours.
func Start(log string, env []string, command string, args ...string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }() // the process has its own
	p := &Process{Log: log, cmd: exec.Command(command, args...), exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches us, and we stop it in order
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// Operator is a running operator.
type Operator struct {
	*Process
	Probe string // host:port of /healthz and /readyz
}

// StartOperator starts the binary with a kubeconfig, a server without TLS, and more flags. It does not wait for it to be ready.
func StartOperator(binary, log, kubeconfig, infisicalURL string, flags ...string) (*Operator, error) {
	probe, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	p, err := Start(log, []string{"POD_NAMESPACE=" + Namespace}, binary, append([]string{
		"--kubeconfig=" + kubeconfig, "--infisical-url=" + infisicalURL, "--allow-http", "--leader-elect", "--health-probe-bind-address=" + probe,
	}, flags...)...)
	if err != nil {
		return nil, err
	}
	return &Operator{Process: p, Probe: probe}, nil
}

// Ready says whether it is, or why it never will be.
func (o *Operator) Ready() (bool, error) {
	if err := o.Ended(); err != nil {
		return false, err
	}
	answer, err := http.Get("http://" + o.Probe + "/readyz")
	if err != nil {
		return false, nil //nolint:nilerr // it does not listen yet
	}
	_ = answer.Body.Close() // nothing is read from it
	return answer.StatusCode == http.StatusOK, nil
}

// Pid is the process's.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Ended is an error with what the process said last, if it has ended.
func (p *Process) Ended() error {
	select {
	case <-p.exited:
		log, err := os.ReadFile(p.Log)
		return errors.Join(fmt.Errorf("%s has ended (%w); its log:\n%s", p.cmd.Path, p.err, log), err)
	default:
		return nil
	}
}

// Stop asks it to end, and waits for that; one that does not within 20 seconds is killed.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
		return p.err
	case <-time.After(20 * time.Second):
		return errors.Join(fmt.Errorf("%s did not stop within 20 seconds", p.cmd.Path), p.Kill())
	}
}

// Kill ends it at once, as a machine that fails does.
func (p *Process) Kill() error {
	err := p.cmd.Process.Kill()
	<-p.exited
	return err
}

// Await looks until something is so, for at most so long.
func Await(ctx context.Context, what string, limit time.Duration, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if done, err := so(); err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// FreeAddress is a loopback address on which nothing listens.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
