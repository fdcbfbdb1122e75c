// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"testing"
	"time"
)

// An ingress that keeps its connections must not lose a request when the launch handler stops.
func TestClientsLeaveBeforeTheServerStops(t *testing.T) {
	server, leave := newServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "ok") })), newConnections(defaultConnections)
	leave.from(server)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(leave.listen(listener)) }()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	ask := func() (reused, closes bool) {
		t.Helper()
		trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }}
		r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodPost, "http://"+listener.Addr().String(), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%d, %v", answer.StatusCode, err)
		}
		return reused, answer.Close
	}
	if _, closes := ask(); closes {
		t.Error("connections are not kept before it stops")
	}
	left := make(chan struct{})
	go func() {
		leave.wait()
		close(left)
	}()
	for !leave.begun.Load() {
		time.Sleep(time.Millisecond)
	}
	select {
	case <-left:
		t.Error("it does not wait for a client that keeps its connection")
	case <-time.After(50 * time.Millisecond):
	}
	if reused, closes := ask(); !reused || !closes {
		t.Errorf("a request on the kept connection: reused %t, told to leave %t; want both", reused, closes)
	}
	select {
	case <-left:
	case <-time.After(leaveTimeout / 2):
		t.Error("it waits although the last client has left")
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served
}
