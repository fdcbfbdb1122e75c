// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// metrics are the series of a program by name and labels, as they stand in the text format.
type metrics map[string]float64

func scrape(ctx context.Context, address string) (metrics, []byte, error) {
	body, err := get(ctx, address+"/metrics")
	if err != nil {
		return nil, nil, fmt.Errorf("read metrics: %w", err)
	}
	m := metrics{}
	for line := range strings.Lines(string(body)) {
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
		if err != nil {
			continue // no series of ours has a time
		}
		m[line[:at]] = value
	}
	return m, body, nil
}

// sum adds up all series of a name; ok is false when there is none.
func (m metrics) sum(name string) (total float64, ok bool) {
	for series, value := range m {
		if series == name || strings.HasPrefix(series, name+"{") {
			total, ok = total+value, true
		}
	}
	return total, ok
}

// keepMetrics writes the operator's metrics beside its log, for whoever asks where the time went.
func (b *bench) keepMetrics(ctx context.Context, phase string) (metrics, error) {
	m, text, err := scrape(ctx, "http://"+b.addresses.metrics)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(b.logDir, "operator-metrics-"+phase+".txt"), text, 0o600); err != nil {
		return nil, fmt.Errorf("keep metrics: %w", err)
	}
	return m, nil
}
