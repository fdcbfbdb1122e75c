// SPDX-License-Identifier: Apache-2.0

// Package charts holds the Helm charts, and the tests that render them and show the outcome to a real API server:
// "make charts-check" runs them.
package charts
