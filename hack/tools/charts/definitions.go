// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package charts pins what the checks of the charts need besides helm: modules that bring resource definitions of other
// projects. Only their YAML files are used, so the smallest package of each stands here.
package charts

import (
	_ "github.com/prometheus-operator/prometheus-operator/pkg/versionutil"
	_ "sigs.k8s.io/gateway-api/apis/v1"
)
