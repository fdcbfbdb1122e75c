// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// signer has LTI 1.2 launches signed by somebody else's code: a test that signs with ours would agree with its mistakes.
type signer struct {
	stdin  io.WriteCloser
	stdout *bufio.Reader
	cmd    *exec.Cmd
}

func startSigner(script string) (*signer, error) {
	cmd := exec.Command("node", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the signer: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the signer: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the signer: %w", err)
	}
	return &signer{stdin: stdin, stdout: bufio.NewReader(stdout), cmd: cmd}, nil
}

// stop closes its input, at which it ends.
func (s *signer) stop() error {
	return errors.Join(s.stdin.Close(), s.cmd.Wait())
}

// form is a signed launch that was never sent before.
func (s *signer) form(link link12) (string, error) {
	line, err := json.Marshal(link)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	if _, err := s.stdin.Write(append(line, '\n')); err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	answer, err := s.stdout.ReadBytes('\n')
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	var signed struct {
		Body string `json:"body"`
	}
	if err := json.Unmarshal(answer, &signed); err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return signed.Body, nil
}

// httpClient reaches *.localhost on machines whose resolver does not know it, and follows no redirect.
var httpClient = &http.Client{
	Timeout:       10 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if host == "localhost" || strings.HasSuffix(host, ".localhost") {
			host = "127.0.0.1"
		}
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, net.JoinHostPort(host, port))
	}},
}

// get fetches an address without following redirects.
func get(ctx context.Context, address string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	return resp.StatusCode, body, err
}

var reasonPattern = regexp.MustCompile(`data-reason="([^"]+)"`)

// launch12 opens a link as a browser does in a window of its own, and returns where it is sent in the end, without the query.
func (s *signer) launch12(ctx context.Context, link link12) (string, error) {
	body, err := s.form(link)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, link.LaunchURL, strings.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("launch: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Dest", "document")
	resp, err := httpClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("launch: %w", err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("launch: %w", err)
	}
	if resp.StatusCode != http.StatusSeeOther {
		reason := "without a reason"
		if m := reasonPattern.FindSubmatch(page); m != nil {
			reason = string(m[1])
		}
		return "", fmt.Errorf("launch: the handler answered %d, %s", resp.StatusCode, reason)
	}
	location, err := url.Parse(resp.Header.Get("Location"))
	if err != nil {
		return "", fmt.Errorf("launch: it led nowhere: %w", err)
	}
	if target := location.Query().Get("target_link_uri"); target != "" {
		return target, nil // to sign in first
	}
	place, _, _ := strings.Cut(location.String(), "?")
	return place, nil
}

// launchTo opens a link and checks where it leads.
func (s *signer) launchTo(ctx context.Context, link link12, target string) error {
	place, err := s.launch12(ctx, link)
	if err == nil && place != target {
		err = fmt.Errorf("launch: it led to %q, not to %q", place, target)
	}
	return err
}

// waitHandlerReady waits until a launch handler says that it can serve.
func waitHandlerReady(ctx context.Context, h handlerPorts, timeout time.Duration) error {
	err := poll(ctx, timeout, func() error {
		status, _, err := get(ctx, "http://"+loopback(h.ops)+"/readyz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("wait for the %s: %w", h.name, err)
	}
	return nil
}
