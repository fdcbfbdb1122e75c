// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"
)

// serveBounded serves on loopback with a limit of connections.
func serveBounded(t *testing.T, limit int, h http.Handler) (address string, open *connections) {
	t.Helper()
	server, open := newServer(h), newConnections(limit)
	open.from(server)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(open.listen(listener)) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-served
		for deadline := time.Now().Add(5 * time.Second); open.count() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d connections are still counted", open.count())
			}
		}
	})
	return listener.Addr().String(), open
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ask sends a request and returns the status, 0 if the connection was closed.
func ask(t *testing.T, conn net.Conn) int {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return 0
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0
	}
	return answer.StatusCode
}

// Connections that somebody opens and does not use, or has used, make room for those who ask for something.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	for name, use := range map[string]bool{"after a request": true, "without any": false} {
		t.Run(name, func(t *testing.T) {
			const limit = 32
			address, open := serveBounded(t, limit, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			var first net.Conn
			for i := range limit {
				conn := dial(t, address)
				if use && ask(t, conn) != http.StatusOK {
					t.Fatalf("connection %d is not served", i)
				}
				if first == nil {
					first = conn
				}
			}
			last := dial(t, address)
			if got := ask(t, last); got != http.StatusOK {
				t.Errorf("the last one is answered with %d", got)
			}
			if n := open.count(); n > limit {
				t.Errorf("%d connections are open", n)
			}
			if got := ask(t, first); got != 0 {
				t.Error("the one that was idle longest is still open")
			}
			if got := ask(t, last); got != http.StatusOK {
				t.Error("the newest one was closed")
			}
		})
	}
}

// A connection with a request under way is not closed for a new one, which waits.
func TestAConnectionInUseStays(t *testing.T) {
	const limit = 4
	begun, goOn := make(chan struct{}, 3*limit), make(chan struct{})
	address, open := serveBounded(t, limit, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { begun <- struct{}{}; <-goOn }))
	answers := make(chan int)
	for range 3 * limit {
		conn := dial(t, address)
		go func() { answers <- ask(t, conn) }()
	}
	for range limit {
		<-begun
	}
	time.Sleep(2 * lookAgain) // others want to come in
	if n := open.count(); n != limit || len(begun) > 0 {
		t.Errorf("%d connections are open, and %d more requests began; want %d and none", n, len(begun), limit)
	}
	close(goOn)
	for range 3 * limit {
		if got := <-answers; got != http.StatusOK {
			t.Errorf("answered with %d", got)
		}
	}
}

func TestAListenerThatIsFullCanBeClosed(t *testing.T) {
	open := newConnections(1)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bounded := open.listen(listener)
	dial(t, listener.Addr().String())
	dial(t, listener.Addr().String())
	one, err := bounded.Accept()
	if err != nil {
		t.Fatal(err)
	}
	one.(*connection).idleSince.Store(0)
	failed := make(chan error)
	go func() { _, err := bounded.Accept(); failed <- err }()
	time.Sleep(20 * time.Millisecond)
	if err := bounded.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-failed:
		if err == nil {
			t.Error("a connection more than there may be was accepted")
		}
	case <-time.After(5 * time.Second):
		t.Error("Accept does not return")
	}
	_ = one.Close()
}

// BenchmarkIdleConnection tells what a connection costs that nothing is asked on.
func BenchmarkIdleConnection(b *testing.B) {
	const connections = 2000
	server := newServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	open := newConnections(defaultConnections)
	open.from(server)
	listener, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = server.Serve(open.listen(listener)) }()
	defer func() { _ = server.Close() }()
	inUse := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	for b.Loop() {
		before := inUse()
		var clients []net.Conn
		for range connections {
			conn, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", listener.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			clients = append(clients, conn)
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, err := conn.Read(make([]byte, 1024)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(inUse()-before)/connections, "B/connection")
		for _, c := range clients {
			_ = c.Close()
		}
	}
}
