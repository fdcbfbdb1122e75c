//go:build unix

// Package pgtest runs real PostgreSQL servers for tests and demonstrations: each
// in a temporary directory, on a Unix socket, as an unprivileged user when the
// caller is root, and gone when the caller ends, however it ends.
//
// Tests of most packages share one server and take a database each:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m).Run()) }
//
//	func TestSomething(t *testing.T) {
//		url := pgtest.NewDatabase(t)
//
// A test that stops or kills its server starts one of its own, with Start. A
// program that is no test uses Run.
package pgtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience is how long a server may take to start or stop: it recovers after
// Kill, and machines that test are busy.
const patience = 2 * time.Minute

// Option changes how a server runs.
type Option func(*Server)

// Durable makes the server write through to the disk, as one in production does.
// Without, a test goes several times as fast, and what was committed survives a
// killed server but not a killed machine.
func Durable(s *Server) { s.settings = append(s.settings, "fsync=on", "full_page_writes=on") }

// Listening makes the server accept connections with a password over TCP as well, at an address of this machine such as
// 10.213.0.1: for programs that are not on this machine, or do not see its files. Addresses of databases are then of that
// kind. Nobody but the superuser, on the machine, gets in without a password.
func Listening(host string) Option { return func(s *Server) { s.host = host } }

// Server is a PostgreSQL server. Its methods may be called by any goroutine.
type Server struct {
	dir, bin   string
	credential *syscall.Credential
	settings   []string
	host       string // to listen at; empty: on the socket only
	port       string

	mu        sync.Mutex
	process   *os.Process
	exited    chan struct{} // is closed when process has ended
	databases int
}

// Run starts a server for a program, which must Close it.
func Run(options ...Option) (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	// A path to a socket has at most 107 characters.
	base := os.TempDir()
	if len(base) > 60 {
		base = "/tmp"
	}
	dir, err := os.MkdirTemp(base, "pgtest-")
	if err != nil {
		return nil, err
	}
	s := &Server{
		dir: dir, bin: bin,
		settings: []string{
			"unix_socket_directories=" + dir,
			"max_connections=400", "shared_buffers=16MB", "huge_pages=off",
			"fsync=off", "full_page_writes=off",
			"log_line_prefix=%m [%p] %u ",
		},
	}
	for _, o := range options {
		o(s)
	}
	s.settings = append(s.settings, "listen_addresses="+s.host)
	if s.host != "" {
		if s.port, err = freePort(s.host); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		s.settings = append(s.settings, "port="+s.port)
	}
	if err := errors.Join(s.init(), s.Start()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// freePort is a port that nothing listens at.
func freePort(host string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// programs returns the directory with the newest initdb and postgres, where Debian
// and others put them, or in PATH.
func programs() (string, error) {
	var found []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin",
	} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		found = append(found, dirs...)
	}
	slices.SortStableFunc(found, func(a, b string) int { return version(b) - version(a) })
	if path, err := exec.LookPath("postgres"); err == nil {
		found = append(found, filepath.Dir(path))
	}
	for _, dir := range found {
		if executable(filepath.Join(dir, "postgres")) && executable(filepath.Join(dir, "initdb")) {
			return dir, nil
		}
	}
	return "", errors.New("PostgreSQL is missing: there is no initdb and postgres below /usr/lib/postgresql, nor in PATH. " +
		"Install it with hack/tools/ensure.sh postgres, or apt-get install postgresql")
}

// version is the number in a path such as /usr/lib/postgresql/15/bin, or 0.
func version(dir string) int {
	digits := strings.TrimLeft(filepath.Base(filepath.Dir(dir)), "abcdefghijklmnopqrstuvwxyz-@")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// init makes the data directory, and decides who runs the server: PostgreSQL
// refuses to run as root.
func (s *Server) init() error {
	if os.Geteuid() == 0 {
		uid, gid, err := unprivileged()
		if err != nil {
			return err
		}
		if err := os.Chown(s.dir, int(uid), int(gid)); err != nil {
			return err
		}
		s.credential = &syscall.Credential{Uid: uid, Gid: gid}
	}
	cmd := exec.Command(filepath.Join(s.bin, "initdb"), //nolint:gosec // found by programs
		"--pgdata", s.data(), "--username=postgres", "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	cmd.Dir, cmd.Env, cmd.SysProcAttr = s.dir, s.environment(), &syscall.SysProcAttr{Credential: s.credential}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	// Whoever has a password must give it.
	rules := "local all postgres trust\nlocal all all scram-sha-256\n"
	if s.host != "" {
		rules += "host all postgres all reject\nhost all all all scram-sha-256\n"
	}
	return os.WriteFile(filepath.Join(s.data(), "pg_hba.conf"), []byte(rules), 0o600)
}

// unprivileged returns somebody who is not root: the user of the Debian package,
// or else the one who owns nothing.
func unprivileged() (uid, gid uint32, err error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return 0, 0, err
		}
		return uint32(uid), uint32(gid), nil
	}
	return 0, 0, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) log() string { return filepath.Join(s.dir, "log") }

// environment is that of the caller, less what would make PostgreSQL speak another
// language or look elsewhere.
func (s *Server) environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PG") || strings.HasPrefix(v, "LC_") || strings.HasPrefix(v, "LANG")
	})
	return append(env, "LC_ALL=C", "HOME="+s.dir)
}

// Start starts the server again after Stop or Kill, and waits until it answers.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		return errors.New("pgtest: the server runs already")
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	args := []string{"-D", s.data()}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), args...) //nolint:gosec // found by programs
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.environment(), log, log
	cmd.SysProcAttr = processAttributes(s.credential)

	started, exited := make(chan error), make(chan struct{})
	go func() {
		// The signal of processAttributes comes when this thread ends, not when the
		// program does, so it must not be ended before.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			// How it ended is in the log.
			_ = cmd.Wait()
			close(exited)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	s.process, s.exited = cmd.Process, exited
	return s.ready()
}

// ready waits until the server accepts connections. s.mu is held.
func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.url(url.User("postgres"), "postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.exited:
			s.process = nil
			return fmt.Errorf("postgres ended: %s", s.tail())
		case <-ctx.Done():
			return fmt.Errorf("postgres does not answer: %w: %s", err, s.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// tail returns the last lines of the server's log.
func (s *Server) tail() string {
	log, err := os.ReadFile(s.log())
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-4000):])
}

// Stop shuts the server down the ordinary way: it ends all sessions, and leaves
// nothing to recover.
func (s *Server) Stop() error { return s.end(syscall.SIGINT) }

// Kill ends the server at once. It recovers from its write-ahead log when it is
// started again. (SIGQUIT and not SIGKILL: that one leaves orphans behind, which
// keep the server from being started again for a while.)
func (s *Server) Kill() error { return s.end(syscall.SIGQUIT) }

func (s *Server) end(signal syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	if err := s.process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	var err error
	select {
	case <-s.exited:
	case <-time.After(patience):
		err = errors.Join(fmt.Errorf("postgres did not end: %s", s.tail()), s.process.Kill())
		<-s.exited
	}
	s.process = nil
	return err
}

// Close stops the server and removes everything.
func (s *Server) Close() error {
	// Nothing is left to be kept in order.
	return errors.Join(s.Kill(), os.RemoveAll(s.dir))
}

// CreateDatabase creates an empty database and returns its address, which holds
// the password of its owner: somebody who may do nothing else.
func (s *Server) CreateDatabase() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url(url.User("postgres"), "postgres"))
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	s.databases++
	name, password := fmt.Sprintf("test%d", s.databases), rand.Text()
	for _, statement := range []string{
		fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD '%s'`, name, password),
		fmt.Sprintf(`CREATE DATABASE %s OWNER %s`, name, name),
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return "", err
		}
	}
	address := s.url(url.UserPassword(name, password), name)
	if s.host != "" {
		u := url.URL{Scheme: "postgres", User: url.UserPassword(name, password), Host: net.JoinHostPort(s.host, s.port), Path: "/" + name, RawQuery: "sslmode=disable"}
		address = u.String()
	}
	return address, nil
}

// PID returns the number of the server's first process, the parent of all others; 0 when it does not run.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return 0
	}
	return s.process.Pid
}

// Program returns the path of a program of PostgreSQL, such as pg_dump.
func (s *Server) Program(name string) string { return filepath.Join(s.bin, name) }

// AdminURL returns the address of a database for the superuser.
func (s *Server) AdminURL(database string) string { return s.url(url.User("postgres"), database) }

func (s *Server) url(as *url.Userinfo, database string) string {
	query := url.Values{"host": {s.dir}}
	if s.port != "" {
		query.Set("port", s.port)
	}
	u := url.URL{Scheme: "postgres", User: as, Path: "/" + database, RawQuery: query.Encode()}
	return u.String()
}

// Start starts a server of the test's own.
func Start(tb testing.TB, options ...Option) *Server {
	tb.Helper()
	s, err := Run(options...)
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the last lines of the server's log:\n%s", s.tail())
		}
		if err := s.Close(); err != nil {
			tb.Errorf("pgtest: %v", err)
		}
	})
	return s
}

// NewDatabase is CreateDatabase for a test.
func (s *Server) NewDatabase(tb testing.TB) string {
	tb.Helper()
	address, err := s.CreateDatabase()
	if err != nil {
		tb.Fatalf("pgtest: create database: %v", err)
	}
	return address
}

// shared is the server of the test binary.
var shared struct {
	sync.Mutex
	server *Server
	err    error
}

// Shared returns the server that the tests of a binary share. They must leave it
// running. Main stops it.
func Shared(tb testing.TB) *Server {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = Run()
	}
	if shared.err != nil {
		tb.Fatalf("pgtest: %v", shared.err)
	}
	return shared.server
}

// NewDatabase creates a database on the shared server and returns its address.
func NewDatabase(tb testing.TB) string {
	tb.Helper()
	return Shared(tb).NewDatabase(tb)
}

// M runs tests. It is for TestMain, with or without goleak.VerifyTestMain.
type M struct{ tests interface{ Run() int } }

// Main returns an M that stops the shared server after the tests.
func Main(m *testing.M) M { return M{m} }

// Run runs the tests, stops the shared server and returns the exit code.
func (m M) Run() int {
	code := m.tests.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		return code
	}
	if err := shared.server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	shared.server = nil
	return code
}
