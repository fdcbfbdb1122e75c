// SPDX-License-Identifier: Apache-2.0

// Package configdir turns the mounted configuration directory into the routing table that the launch handler serves.
//
// The directory is a projected volume. Kubelet writes each state of it into a directory of its own and then moves the
// symbolic link "..data" to it, so that a reader who resolves the link once sees one state and never a mixture. The
// watcher accepts a complete, verified set only; whatever else it finds, the last good table stays.
package configdir

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/lti-operator/lti-operator/internal/routing"
)

const (
	// dataLink is the name of the link that kubelet moves.
	dataLink = "..data"
	// DefaultInterval is how often the directory is looked at besides notifications, which can be lost (the queue is
	// finite) or unavailable (the number of inotify instances per user is limited).
	DefaultInterval = 2 * time.Second
	// loadAttempts bounds how often one check starts again because the link moved under it.
	loadAttempts = 3
)

// Options configure a Watcher. Dir is required.
type Options struct {
	// Dir is the mounted directory. It need not exist yet.
	Dir string
	// Logger gets one line per change. Left out: slog.Default.
	Logger *slog.Logger
	// Interval between checks. Left out: DefaultInterval.
	Interval time.Duration
	// Now is the clock of Report.LoadedAt. Left out: time.Now.
	Now func() time.Time
	// Rejected is told about each configuration that is refused, once; for metrics. Optional.
	Rejected func(ErrorCode)
}

// Watcher serves the newest good table of a directory. Its methods may be called from any goroutine.
type Watcher struct {
	dir      string
	log      *slog.Logger
	interval time.Duration
	now      func() time.Time
	rejected func(ErrorCode)

	current atomic.Pointer[routing.Index]
	// assembler is used by the goroutine of Run only.
	assembler routing.Assembler

	mu        sync.Mutex
	report    Report
	callbacks []func(*routing.Index)
}

// New makes a watcher; Run starts it.
func New(o Options) *Watcher {
	w := &Watcher{dir: o.Dir, log: o.Logger, interval: o.Interval, now: o.Now, rejected: o.Rejected}
	if w.log == nil {
		w.log = slog.Default()
	}
	if w.interval <= 0 {
		w.interval = DefaultInterval
	}
	if w.now == nil {
		w.now = time.Now
	}
	if w.rejected == nil {
		w.rejected = func(ErrorCode) {}
	}
	w.report.ReadableFormats = ReadableFormats()
	return w
}

// Current returns the table to serve, or nil before the first one. It costs one atomic load; keep the result for the
// length of a request, so that one request sees one table.
func (w *Watcher) Current() *routing.Index { return w.current.Load() }

// OnChange registers a function to call with each new table, after Current returns it. Functions are called one after
// the other, from Run's goroutine, and should be quick. Those registered after Run has started miss earlier tables.
func (w *Watcher) OnChange(f func(*routing.Index)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.callbacks = append(w.callbacks, f)
}

// Run watches the directory until ctx is done. It never fails: a directory that is missing or cannot be read is
// reported, and looked at again.
func (w *Watcher) Run(ctx context.Context) error {
	var events chan fsnotify.Event
	var failures chan error
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		w.log.WarnContext(ctx, "no file notifications; changes are found by polling",
			"interval", w.interval, "error", err)
	} else {
		defer func() { _ = notify.Close() }()
		events, failures = notify.Events, notify.Errors
	}
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	// The watch is set before the directory is read, so that no swap falls between the two. It is set again at every
	// tick: a directory that was removed and made again is another inode.
	for {
		if notify != nil {
			// Fails while the directory is missing, which the check reports.
			_ = notify.Add(w.dir)
		}
		w.check(ctx)
		if !w.wait(ctx, tick.C, events, failures) {
			return nil
		}
	}
}

// wait returns when the directory should be looked at; false when ctx is done.
func (w *Watcher) wait(
	ctx context.Context, tick <-chan time.Time, events <-chan fsnotify.Event, failures <-chan error,
) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick:
			return true
		case e := <-events:
			if filepath.Base(e.Name) == dataLink {
				return true
			}
		case err := <-failures:
			// An overflow of the queue, for example: what was lost is found by looking.
			w.log.DebugContext(ctx, "file notification failed", "error", err)
			return true
		}
	}
}

// check looks at the directory once, and swaps the table if there is a new good one.
func (w *Watcher) check(ctx context.Context) {
	start := time.Now()
	var l loaded
	var err error
	for range loadAttempts {
		var target string
		if target, err = os.Readlink(filepath.Join(w.dir, dataLink)); err != nil {
			err = missing(err)
			break
		}
		l, err = w.load(target)
		if err == nil {
			break
		}
		// Kubelet removes the old directory as soon as the link has moved: what failed may be gone rather than bad.
		if now, _ := os.Readlink(filepath.Join(w.dir, dataLink)); now == target {
			break
		}
	}
	if err != nil {
		w.reject(ctx, l.hash, err)
		return
	}
	if l.table == nil {
		w.accept(l.hash, false)
		return
	}
	index := routing.NewIndex(l.hash, l.table)
	w.current.Store(index)
	for _, f := range w.accept(l.hash, true) {
		f(index)
	}
	w.log.InfoContext(ctx, "routing table loaded", "hash", l.hash, "activities", len(l.table.Activities),
		"platforms", len(l.table.Platforms), "tools", len(l.table.Tools), "took", time.Since(start))
}

type loaded struct {
	// hash is what the manifest says, also beside an error if it could be read.
	hash string
	// table is nil when it is the one being served.
	table *routing.Table
}

// load reads the state that the link points to.
func (w *Watcher) load(target string) (loaded, error) {
	if !filepath.IsAbs(target) {
		target = filepath.Join(w.dir, target)
	}
	// An open directory stays the same one, wherever the link goes meanwhile.
	root, err := os.OpenRoot(target)
	if err != nil {
		return loaded{}, missing(err)
	}
	defer func() { _ = root.Close() }()
	b, err := root.ReadFile(routing.ManifestFile)
	if err != nil {
		return loaded{}, missing(err)
	}
	m, err := routing.DecodeManifest(b)
	if err != nil {
		return loaded{hash: claimedHash(b)}, fmt.Errorf("read manifest: %w", err)
	}
	l := loaded{hash: m.Hash}
	if c := w.current.Load(); c != nil && c.Hash == m.Hash {
		return l, nil
	}
	l.table, err = w.assembler.Assemble(m, root.ReadFile)
	if err != nil {
		return loaded{hash: m.Hash}, fmt.Errorf("assemble: %w", err)
	}
	return l, nil
}

// claimedHash returns the hash that a refused manifest claims to have, for the report, or nothing.
func claimedHash(manifest []byte) string {
	var m struct {
		Hash string `json:"hash"`
	}
	if json.Unmarshal(manifest, &m) != nil || len(m.Hash) != 64 {
		return ""
	}
	if _, err := hex.DecodeString(m.Hash); err != nil {
		return ""
	}
	return m.Hash
}

var errMissing = errors.New("no configuration")

func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errMissing, err)
	}
	return err
}
