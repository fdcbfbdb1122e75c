//go:build unix

package pgtest

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(Main(m)) }

func query(t *testing.T, address, text string) (string, error) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		return "", err
	}
	defer conn.Close(t.Context())
	var answer string
	err = conn.QueryRow(t.Context(), text).Scan(&answer)
	return answer, err
}

func TestDatabasesAreSeparate(t *testing.T) {
	a, b := NewDatabase(t), NewDatabase(t)
	for _, address := range []string{a, b} {
		got, err := query(t, address, `CREATE TABLE only_here (id int); SELECT current_setting('fsync')`)
		if err == nil || got != "" {
			t.Errorf("two statements in one: %q, %v", got, err)
		}
	}
	gotA, err := query(t, a, `SELECT current_database()||' '||current_setting('is_superuser')`)
	if err != nil {
		t.Fatal(err)
	}
	gotB, err := query(t, b, `SELECT current_database()||' '||current_setting('is_superuser')`)
	if err != nil || gotA == gotB {
		t.Errorf("%q and %q, %v; want two databases", gotA, gotB, err)
	}
}

func TestStopKillStart(t *testing.T) {
	s := Start(t, Durable)
	address := s.NewDatabase(t)
	if got, err := query(t, address, `SELECT current_setting('fsync')`); err != nil || got != "on" {
		t.Errorf("fsync = %q, %v; want on", got, err)
	}
	for name, end := range map[string]func() error{"Stop": s.Stop, "Kill": s.Kill} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if _, err := query(t, address, `SELECT 'alive'`); err == nil {
			t.Errorf("the server answers after %s", name)
		}
		if err := end(); err != nil {
			t.Errorf("%s twice: %v", name, err)
		}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		if got, err := query(t, address, `SELECT 'alive'`); err != nil {
			t.Errorf("after %s and Start: %q, %v", name, got, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", s.dir, err)
	}
}

func TestListening(t *testing.T) {
	s := Start(t, Listening("127.0.0.1"))
	address := s.NewDatabase(t)
	if got, err := query(t, address, `SELECT host(inet_server_addr())`); err != nil || got != "127.0.0.1" {
		t.Errorf("%s: %q, %v; want an answer over TCP", address, got, err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	for name, who := range map[string]*url.Userinfo{
		"a wrong password": url.UserPassword(u.User.Username(), "wrong"), "the superuser": url.User("postgres"),
	} {
		u.User = who
		if _, err := query(t, u.String(), `SELECT 'in'`); err == nil {
			t.Errorf("%s is let in over TCP", name)
		}
	}
	if got, err := query(t, s.AdminURL("postgres"), `SELECT 'in'`); err != nil || got != "in" {
		t.Errorf("the superuser on the socket: %q, %v", got, err)
	}
}

func TestNewestVersionFirst(t *testing.T) {
	for dir, want := range map[string]int{
		"/usr/lib/postgresql/15/bin": 15, "/usr/pgsql-17/bin": 17, "/opt/homebrew/opt/postgresql@16/bin": 16, "/usr/local/pgsql/bin": 0,
	} {
		if got := version(dir); got != want {
			t.Errorf("version of %s = %d, want %d", dir, got, want)
		}
	}
	if dir, err := programs(); err != nil || !executable(filepath.Join(dir, "initdb")) {
		t.Errorf("%q, %v", dir, err)
	}
}
