/** Values that differ in everything that the chart's templates decide by, one set for each kind of setup. */
import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { least, type Values } from "./chart.ts";

/** The values that docs/kubernetes.md shows. */
const shown = [...readFileSync("docs/kubernetes.md", "utf8").matchAll(/^```yaml\n([^]*?)^```$/gm)].map(
  ([, text = ""]): Values => ({ ...least, ...(parse(text) as Values) }),
);

const monitored: Values = {
  serviceMonitor: { enabled: true, labels: { release: "prometheus" } },
  prometheusRule: { enabled: true, runbooks: "https://wiki.example/hubcap" },
  dashboard: { enabled: true, annotations: { folder: "Registries" } },
};

const credentials: Values = {
  "docker.io": { existingSecret: "hub" },
  "ghcr.io": { existingSecret: "ghcr", username: "bot", key: "token" },
  "quay.io": { username: "bot", password: "s3cret" },
};

/** By a name that says what is special. */
export const setups: Readonly<Record<string, Values>> = {
  ...Object.fromEntries(shown.map((values, at) => [`number ${at + 1} of docs/kubernetes.md`, values])),
  "nothing but the image": least,
  "an image by digest": {
    image: { repository: "registry.example/hubcap", digest: `sha256:${"a".repeat(64)}` },
  },
  "credentials of all three forms": { ...least, credentials, admin: { existingSecret: "admin" } },
  monitoring: { ...least, ...monitored },
  "nodes by NodePort": {
    ...least,
    registry: { service: { type: "NodePort", nodePort: 31_000, annotations: { a: "b" } } },
    nodes: { enabled: true },
  },
  "nodes over TLS, with a token and no fallback": {
    ...least,
    registry: { service: { type: "LoadBalancer" } },
    tls: { registry: { enabled: true, existingSecret: "tls" } },
    nodes: {
      enabled: true,
      mirror: "https://hubcap.example:5000",
      upstreams: ["docker.io"],
      fallback: false,
      caSecret: "ca",
      tokenSecret: "token",
      folder: "/var/lib/containerd/certs.d",
      nodeSelector: { pool: "workers" },
      affinity: { nodeAffinity: {} },
    },
  },
  "certificates of cert-manager on both listeners": {
    ...least,
    ...monitored,
    tls: { registry: { enabled: true }, status: { enabled: true } },
    certManager: {
      enabled: true,
      issuerRef: { name: "internal", kind: "ClusterIssuer" },
      dnsNames: ["hubcap.example"],
      ipAddresses: ["192.0.2.1"],
    },
  },
  "certificates that are there, and clients that show theirs": {
    ...least,
    serviceMonitor: { enabled: true, tlsConfig: { insecureSkipVerify: true } },
    tls: {
      registry: { enabled: true, existingSecret: "tls", clientCaSecret: "nodes-ca" },
      status: { enabled: true, existingSecret: "tls-status", clientCaSecret: "people-ca" },
    },
  },
  "no volume": {
    ...least,
    persistence: { enabled: false, size: "20Gi" },
    config: { storage: { capacity: "18GiB" } },
    serviceAccount: { create: false },
  },
  "a claim that is there": {
    ...least,
    persistence: { existingClaim: "cache" },
    config: { storage: { capacity: "2TB" } },
  },
  "a volume with settings": {
    ...least,
    persistence: {
      size: "1Ti",
      storageClass: "local-nvme",
      accessMode: "ReadWriteOncePod",
      whenDeleted: "Delete",
      annotations: { backup: "no" },
    },
    config: { storage: { capacity: "900GiB", pins: ["registry.k8s.io/pause"] }, shutdown: { grace: "1.5m" } },
  },
  "leave to list pods of all namespaces": {
    ...least,
    rbac: { listPods: true },
    config: { warm: { fromCluster: { enabled: true } } },
    serviceAccount: {
      name: "puller",
      annotations: { "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x" },
    },
  },
  "every other setting": {
    ...least,
    imagePullSecrets: [{ name: "pull" }],
    nameOverride: "mirror",
    registry: { hostPort: 5000 },
    networkPolicy: {
      enabled: true,
      registryFrom: [{ ipBlock: { cidr: "192.0.2.0/24" } }],
      egress: [{ to: [{ ipBlock: { cidr: "198.51.100.0/24" } }], ports: [{ port: 8443, protocol: "TCP" }] }],
    },
    podDisruptionBudget: { enabled: true },
    priorityClassName: "system-cluster-critical",
    podAnnotations: { a: "b" },
    podLabels: { c: "d" },
    tolerations: [{ key: "infra", operator: "Exists" }],
    affinity: { nodeAffinity: {} },
    extraEnv: [{ name: "HUBCAP_LOG_LEVEL", value: "debug" }],
    extraVolumes: [{ name: "ca", configMap: { name: "ca" } }],
    extraVolumeMounts: [{ name: "ca", mountPath: "/etc/hubcap-ca", readOnly: true }],
    config: { upstreams: { "gcr.io": null, "harbor.example:8443": { url: "https://harbor.example:8443" } } },
    credentials: { "harbor.example:8443": { existingSecret: "harbor" } },
  },
};
