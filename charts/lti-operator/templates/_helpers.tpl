{{- define "lti-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 50 characters, so that what is put behind it fits into a name. */ -}}
{{- define "lti-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "lti-operator.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "lti-operator.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Name of what is not in a namespace: two releases of one name may be in two namespaces. */ -}}
{{- define "lti-operator.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "lti-operator.fullname" .) -}}
{{- end -}}

{{- /* A Deployment's selector cannot be changed: nothing may be added here. */ -}}
{{- define "lti-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "lti-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lti-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "lti-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: lti-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "lti-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "lti-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is required when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* An image of (values of the image) and (tag unless another one is given). */ -}}
{{- define "lti-operator.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default (index . 1) $image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* The namespaces that the operator works in, as JSON: {"list": […]}; none in scope Cluster. */ -}}
{{- define "lti-operator.namespaces" -}}
{{- if eq .Values.scope "Cluster" -}}
{{- if .Values.watchNamespaces -}}
{{- fail "watchNamespaces belongs to scope: Namespaces; in scope Cluster the operator works in all of them" -}}
{{- end -}}
{{- dict "list" list | toJson -}}
{{- else -}}
{{- dict "list" (.Values.watchNamespaces | default (list .Release.Namespace) | uniq) | toJson -}}
{{- end -}}
{{- end -}}

{{- define "lti-operator.academyNamespace" -}}
{{- $namespaces := (include "lti-operator.namespaces" . | fromJson).list -}}
{{- $namespace := .Values.academy.namespace | default (first $namespaces) | default .Release.Namespace -}}
{{- if and $namespaces (not (has $namespace $namespaces)) -}}
{{- fail (printf "academy.namespace is %s, where the operator does not work: watchNamespaces has %s" $namespace (join ", " $namespaces)) -}}
{{- end -}}
{{- $namespace -}}
{{- end -}}
