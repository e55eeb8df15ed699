{{- define "hubcap.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "hubcap.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "hubcap.name" .) .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name (include "hubcap.name" .) | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "hubcap.selector" -}}
app.kubernetes.io/name: {{ include "hubcap.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "hubcap.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "hubcap.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "hubcap.image" -}}
{{- $repository := required "image.repository is needed: where you pushed Hubcap's image, such as registry.example/hubcap" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end }}

{{- define "hubcap.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "hubcap.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{/* What restricted Pod Security asks of a container, and a root that cannot be written. */}}
{{- define "hubcap.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* A duration of Hubcap's configuration, such as 30s or 1.5m, in whole seconds, rounded up. */}}
{{- define "hubcap.seconds" -}}
{{- $units := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- mulf (trimSuffix $unit . | float64) (get $units $unit) | ceil | int -}}
{{- end }}

{{/* A size of Hubcap's configuration, such as 50GiB, or a quantity of Kubernetes, such as 60Gi, in bytes. */}}
{{- define "hubcap.bytes" -}}
{{- $units := dict "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 0x1p10 "Mi" 0x1p20 "Gi" 0x1p30 "Ti" 0x1p40 "Pi" 0x1p50 "Ei" 0x1p60 -}}
{{- $text := trimSuffix "B" . -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- mulf (trimSuffix $unit $text | float64) (get $units $unit) -}}
{{- end }}

{{/* The secret with a listener's certificate; empty for a listener without TLS. */}}
{{- define "hubcap.tlsSecret" -}}
{{- $tls := get .root.Values.tls .listener -}}
{{- if $tls.enabled -}}
{{- if $tls.existingSecret -}}
{{ $tls.existingSecret }}
{{- else if .root.Values.certManager.enabled -}}
{{ include "hubcap.fullname" .root }}-tls
{{- else -}}
{{- fail (printf "tls.%s.enabled needs tls.%s.existingSecret, or certManager.enabled" .listener .listener) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A host as it may stand in the name of a volume or the key of a secret. */}}
{{- define "hubcap.plainHost" -}}
{{ regexReplaceAll "[^a-z0-9]+" . "-" }}
{{- end }}

{{/* The credential section of an upstream, whose secret is mounted below /run/secrets/hubcap. */}}
{{- define "hubcap.credential" -}}
{{- $folder := printf "/run/secrets/hubcap/%s" (include "hubcap.plainHost" .host) -}}
{{- with .credential -}}
{{- if and .existingSecret (not .username) -}}
dockerConfigFile: {{ $folder }}/{{ default ".dockerconfigjson" .key }}
{{- else if .existingSecret -}}
username: {{ .username | quote }}
passwordFile: {{ $folder }}/{{ default "password" .key }}
{{- else if and .username .password -}}
username: {{ .username | quote }}
passwordFile: {{ $folder }}/password
{{- else -}}
{{- fail (printf "credentials.%s needs existingSecret, or username and password" $.host) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The hosts whose upstreams have an account. */}}
{{- define "hubcap.accounts" -}}
{{- $hosts := keys .Values.credentials -}}
{{- range $host, $upstream := .Values.config.upstreams -}}
{{- if and $upstream (hasKey $upstream "credential") -}}
{{- $hosts = append $hosts $host -}}
{{- end -}}
{{- end -}}
{{- uniq $hosts | sortAlpha | join ", " -}}
{{- end }}

{{/* Who may pull what only an account sees: "ruled" by config.access, else "closed" or "open"; empty without an account. */}}
{{- define "hubcap.privateImages" -}}
{{- if kindIs "slice" .Values.config.access -}}
ruled
{{- else if include "hubcap.accounts" . -}}
{{- default "closed" .Values.privateImages -}}
{{- end -}}
{{- end }}

{{/* hubcap.yaml: config as it is in the values, and what the chart knows better. */}}
{{- define "hubcap.config" -}}
{{- $root := . -}}
{{- $config := deepCopy .Values.config -}}
{{- $registry := dict "listen" "0.0.0.0:5000" -}}
{{- $status := dict "listen" "0.0.0.0:5001" -}}
{{- range $name, $section := dict "registry" $registry "status" $status -}}
{{- $tls := get $root.Values.tls $name -}}
{{- if $tls.enabled -}}
{{- $folder := printf "/run/secrets/hubcap-tls/%s" $name -}}
{{- $files := dict "certificateFile" (printf "%s/tls.crt" $folder) "keyFile" (printf "%s/tls.key" $folder) -}}
{{- if $tls.clientCaSecret -}}
{{- $_ := set $files "clientCaFile" (printf "%s-clients/ca.crt" $folder) -}}
{{- /* kubelet's probes come without a certificate */ -}}
{{- $_ := set $files "clientCertificates" (ternary "required" "optional" (eq $name "registry")) -}}
{{- end -}}
{{- $_ := set $section "tls" $files -}}
{{- end -}}
{{- $_ := set $config $name (merge $section (default dict (get $config $name))) -}}
{{- end -}}
{{- $_ := set $config "storage" (merge (dict "root" "/var/lib/hubcap") (default dict $config.storage)) -}}
{{- if .Values.admin.existingSecret -}}
{{- $_ := set $config "admin" (merge (dict "tokenFile" (printf "/run/secrets/hubcap-admin/%s" .Values.admin.key)) (default dict $config.admin)) -}}
{{- end -}}
{{- range $host, $credential := .Values.credentials -}}
{{- if not (hasKey (default dict $config.upstreams) $host) -}}
{{- fail (printf "credentials.%s is for a host that is not in config.upstreams" $host) -}}
{{- end -}}
{{- $section := include "hubcap.credential" (dict "host" $host "credential" $credential) | fromYaml -}}
{{- $_ := set (get $config.upstreams $host) "credential" $section -}}
{{- end -}}
{{- if eq (include "hubcap.privateImages" .) "closed" -}}
{{- if gt (int (default 1 $config.workers)) 1 -}}
{{- fail "config.workers cannot be combined with access rules, which keep private images closed: set config.workers to 1, or privateImages to open, so that every client that reaches the mirror endpoint, pods included, may pull them" -}}
{{- end -}}
{{- $_ := set $config "access" list -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* The Service's names, in all the ways in which pods and nodes write them. */}}
{{- define "hubcap.dnsNames" -}}
{{- $namespace := .Release.Namespace -}}
{{- range $name := list (include "hubcap.fullname" .) (printf "%s-status" (include "hubcap.fullname" .)) }}
- {{ $name }}
- {{ $name }}.{{ $namespace }}
- {{ $name }}.{{ $namespace }}.svc
- {{ $name }}.{{ $namespace }}.svc.cluster.local
{{- end }}
{{- end }}
