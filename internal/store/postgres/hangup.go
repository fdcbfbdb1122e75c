package postgres

import (
	"net"
	"syscall"
)

// hungUp tells whether anything arrived on a connection that nobody asked anything
// on, or its end: what a server sends to a session that it has ended. It costs no
// round trip, and nothing is read. A statement that is a transaction of its own may
// not be repeated once it was sent, so its connection should not be a dead one.
func hungUp(c net.Conn) bool {
	for {
		wrapped, ok := c.(interface{ NetConn() net.Conn }) // such as *tls.Conn
		if !ok {
			break
		}
		c = wrapped.NetConn()
	}
	socket, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	quiet := false
	// Not Read, which waits for whoever else reads, as the driver may do in the background.
	err = raw.Control(func(fd uintptr) {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
	})
	return err != nil || !quiet
}
