// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The client is no better than it has to be, and costs a fraction of net/http's: with that one, the driver would be what is
// measured. It knows HTTP/1.1 on a connection that is kept, and answers with a length or in chunks (RFC 9112).

// exchangeTimeout ends the run when a server does not answer.
const exchangeTimeout = 30 * time.Second

// connection is one to a server, with one request at a time.
type connection struct {
	net.Conn
	in *bufio.Reader
	// room is for bodies, each of which overwrites the one before; nil: each has room of its own.
	room []byte
}

func dial(address string) (*connection, error) {
	c, err := net.DialTimeout("tcp", address, exchangeTimeout)
	if err != nil {
		return nil, err
	}
	return &connection{Conn: c, in: bufio.NewReaderSize(c, 16<<10)}, nil
}

// answer is what is kept of an answer until the phase is over and it is checked.
type answer struct {
	status     int
	location   string
	retryAfter string
	// cookies are those that were set, as a browser sends them; without those that were deleted.
	cookies []string
	body    []byte
}

// exchange sends a request, whole and ready, and reads the answer to its end.
func (c *connection) exchange(request []byte) (a answer, err error) {
	if err := c.SetDeadline(time.Now().Add(exchangeTimeout)); err != nil {
		return a, err
	}
	if _, err := c.Write(request); err != nil {
		return a, err
	}
	return c.answer()
}

// answer reads an answer to its end.
func (c *connection) answer() (a answer, err error) {
	line, err := c.line()
	if err != nil {
		return a, err
	}
	version, rest, _ := bytes.Cut(line, []byte(" "))
	if len(rest) < 3 || string(version) != "HTTP/1.1" {
		return a, fmt.Errorf("status line %q", line)
	}
	if a.status, err = strconv.Atoi(string(rest[:3])); err != nil {
		return a, fmt.Errorf("status line %q", line)
	}
	length, chunked := -1, false
	for {
		line, err := c.line()
		if err != nil {
			return a, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case is(name, "content-length"):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return a, err
			}
		case is(name, "transfer-encoding"):
			chunked = is(value, "chunked")
		case is(name, "location"):
			a.location = string(value)
		case is(name, "retry-after"):
			a.retryAfter = string(value)
		case is(name, "set-cookie"):
			if cookie, kept := readCookie(string(value)); kept {
				a.cookies = append(a.cookies, cookie)
			}
		case is(name, "connection") && is(value, "close"):
			return a, errors.New("the server does not keep the connection")
		}
	}
	switch {
	case chunked:
		a.body, err = c.chunks()
	case length >= 0:
		a.body = slices.Grow(c.room[:0], length)[:length]
		_, err = io.ReadFull(c.in, a.body)
	default:
		err = errors.New("an answer without a length")
	}
	return a, err
}

// line is the next line, valid until the next read.
func (c *connection) line() ([]byte, error) {
	line, err := c.in.ReadSlice('\n')
	return bytes.TrimRight(line, "\r\n"), err
}

func (c *connection) chunks() (body []byte, err error) {
	body = c.room[:0]
	for {
		line, err := c.line()
		if err != nil {
			return nil, err
		}
		size, _, _ := strings.Cut(string(line), ";")
		n, err := strconv.ParseUint(size, 16, 24)
		if err != nil {
			return nil, err
		}
		before := len(body)
		body = slices.Grow(body, int(n))[:before+int(n)]
		if _, err := io.ReadFull(c.in, body[before:]); err != nil {
			return nil, err
		}
		// The line end of the chunk, or the one after the last chunk: none of these servers sends trailers.
		if line, err := c.line(); err != nil || len(line) > 0 {
			return nil, errors.Join(errors.New("a chunk that does not end"), err)
		}
		if n == 0 {
			return body, nil
		}
	}
}

// is compares the name of a field.
func is(name []byte, want string) bool {
	return len(name) == len(want) && strings.EqualFold(string(name), want)
}

// readCookie returns name=value, unless the cookie is deleted by that.
func readCookie(text string) (cookie string, kept bool) {
	cookie, attributes, _ := strings.Cut(text, ";")
	for attribute := range strings.SplitSeq(attributes, ";") {
		switch a := strings.ToLower(strings.TrimSpace(attribute)); {
		case strings.HasPrefix(a, "expires=thu, 01 jan 1970"), a == "max-age=0":
			return "", false
		}
	}
	return cookie, true
}

// Fields of requests: what a browser sends that was told to go there by another site, and what an ingress adds.
const (
	browserFields = "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.9\r\n" +
		"Accept-Encoding: gzip, deflate, br\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
	ingressFields = "X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Host: " + publicHost + "\r\n"
)

// request is a whole request. Fields end with a line end each; cookies are as in answers; a body is that of a form unless the
// fields say what it is.
func request(method, path, fields string, cookies []string, body string) []byte {
	var b bytes.Buffer
	b.WriteString(method + " " + path + " HTTP/1.1\r\nHost: " + publicHost + "\r\n" + fields + ingressFields)
	if len(cookies) > 0 {
		b.WriteString("Cookie: " + strings.Join(cookies, "; ") + "\r\n")
	}
	if body != "" {
		if !strings.Contains(fields, "Content-Type: ") {
			b.WriteString("Content-Type: application/x-www-form-urlencoded\r\n")
		}
		b.WriteString("Content-Length: " + strconv.Itoa(len(body)) + "\r\n")
	}
	b.WriteString("\r\n" + body)
	return b.Bytes()
}
