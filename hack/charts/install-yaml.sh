#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Prints install.yaml: namespace, resource definitions and the operator, rendered from the charts, for those who use
# neither Helm nor a GitOps tool. The academy is not in it, for its url must be chosen. Further arguments go to helm:
#
#	hack/charts/install-yaml.sh --set image.digest=sha256:…
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

namespace=lti-operator-system
helm=${HELM:-$(hack/tools/build.sh helm)}

cat <<YAML
# Apply with: kubectl apply --server-side -f install.yaml
# The operator works in the namespace $namespace. Next: an LTIAcademy there, see docs/install.md.
apiVersion: v1
kind: Namespace
metadata:
  name: $namespace
  labels:
    pod-security.kubernetes.io/enforce: restricted
YAML
"$helm" template lti-operator-crds charts/lti-operator-crds --namespace "$namespace"
"$helm" template lti-operator charts/lti-operator --namespace "$namespace" --set academy.create=false "$@"
