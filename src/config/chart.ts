/** The values of the Helm chart. helm/values.schema.json comes from here, and in it the section `config` from the schema. */
import { z } from "zod";
import { schema } from "./schema.ts";

type Json = z.core.JSONSchema.JSONSchema;

/** Something of Kubernetes' own, whose fields are for its API server to judge. */
const foreign = z.record(z.string(), z.unknown());
const texts = z.record(z.string(), z.string());
const list = z.array(foreign);
const name = z.string();
const port = z.int().min(1).max(65_535);
const quantity = z.string().regex(/^\d+(\.\d+)?([EPTGM]i?|k|Ki)?$/);
// What Go's time.ParseDuration and Prometheus' both read.
const goDuration = z.string().regex(/^(\d+(ms|s|m|h))+$/);
const serviceType = z.enum(["ClusterIP", "NodePort", "LoadBalancer"]);

const tls = z.strictObject({ enabled: z.boolean(), existingSecret: name, clientCaSecret: name }).partial();

const credential = z
  .strictObject({ existingSecret: name, key: name, username: name, password: z.string() })
  .partial();

const placement = {
  resources: foreign,
  nodeSelector: texts,
  tolerations: list,
  affinity: foreign,
  priorityClassName: name,
};

const values = z
  .strictObject({
    global: foreign,
    nameOverride: name,
    fullnameOverride: name,
    image: z
      .strictObject({
        repository: name,
        tag: name,
        digest: z.string().regex(/^(sha256:[0-9a-f]{64})?$/),
        pullPolicy: z.enum(["Always", "IfNotPresent", "Never"]),
      })
      .partial(),
    imagePullSecrets: list,
    config: foreign,
    credentials: z.record(z.string(), credential),
    privateImages: z.enum(["closed", "open"]),
    admin: z.strictObject({ existingSecret: name, key: name }).partial(),
    tls: z.strictObject({ registry: tls, status: tls }).partial(),
    certManager: z
      .strictObject({
        enabled: z.boolean(),
        issuerRef: z.strictObject({ name, kind: name, group: name }).partial(),
        dnsNames: z.array(name),
        ipAddresses: z.array(name),
        duration: goDuration,
        renewBefore: goDuration,
      })
      .partial(),
    registry: z
      .strictObject({
        service: z
          .strictObject({
            type: serviceType,
            port,
            nodePort: z.int().min(1).max(65_535),
            annotations: texts,
          })
          .partial(),
        hostPort: z.int().min(0).max(65_535),
      })
      .partial(),
    status: z
      .strictObject({ service: z.strictObject({ type: serviceType, port, annotations: texts }).partial() })
      .partial(),
    persistence: z
      .strictObject({
        enabled: z.boolean(),
        existingClaim: name,
        size: quantity,
        storageClass: name,
        accessMode: z.enum(["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]),
        annotations: texts,
        whenDeleted: z.enum(["Retain", "Delete"]),
      })
      .partial(),
    preStop: z.strictObject({ seconds: z.int().min(1).max(600) }).partial(),
    podAnnotations: texts,
    podLabels: texts,
    ...placement,
    extraEnv: list,
    extraVolumes: list,
    extraVolumeMounts: list,
    serviceAccount: z.strictObject({ create: z.boolean(), name, annotations: texts }).partial(),
    rbac: z.strictObject({ listPods: z.boolean() }).partial(),
    networkPolicy: z
      .strictObject({ enabled: z.boolean(), registryFrom: list, statusFrom: list, egress: list })
      .partial(),
    podDisruptionBudget: z
      .strictObject({ enabled: z.boolean(), maxUnavailable: z.int().min(0).max(1) })
      .partial(),
    serviceMonitor: z
      .strictObject({
        enabled: z.boolean(),
        interval: goDuration,
        scrapeTimeout: goDuration,
        labels: texts,
        tlsConfig: foreign,
      })
      .partial(),
    prometheusRule: z.strictObject({ enabled: z.boolean(), labels: texts, runbooks: name }).partial(),
    dashboard: z.strictObject({ enabled: z.boolean(), labels: texts, annotations: texts }).partial(),
    nodes: z
      .strictObject({
        enabled: z.boolean(),
        mirror: z.string().regex(/^(https?:\/\/[^/]+)?$/),
        upstreams: z.array(name),
        fallback: z.boolean(),
        folder: z.string().regex(/^\//),
        caSecret: name,
        tokenSecret: name,
        ...placement,
      })
      .partial(),
  })
  .partial();

/** What the chart sets itself, so that a value would do nothing, or would be in a ConfigMap, which is not secret. */
const chartsOwn = ["registry.listen", "registry.tls", "status.listen", "status.tls", "storage.root"];

/** The JSON Schema of the chart's values, in the draft that every Helm reads. */
export function chartSchema(): Json {
  const draft = { io: "input", target: "draft-7" } as const;
  const whole = z.toJSONSchema(values, draft);
  const { $schema: _, ...config } = z.toJSONSchema(schema, draft);
  return { ...whole, properties: { ...whole.properties, config: forChart(config, []) } };
}

function forChart(node: Json, path: readonly string[]): Json {
  const changed: Json = { ...node };
  // Go's regular expressions look neither ahead nor behind; Hubcap itself looks again at its start.
  if (node.pattern !== undefined) changed.pattern = node.pattern.replaceAll(/\(\?<?[!=][^)]*\)/g, "");
  if (node.properties) {
    const kept = Object.entries(node.properties).filter(([key, child]) => {
      const isSecret = typeof child === "object" && child["x-type"] === "secret";
      return !isSecret && !chartsOwn.includes([...path, key].join("."));
    });
    changed.properties = Object.fromEntries(kept.map(([key, child]) => [key, below(child, [...path, key])]));
  }
  if (node.additionalProperties !== undefined) {
    changed.additionalProperties = below(node.additionalProperties, [...path, "*"]);
  }
  if (node.propertyNames !== undefined) changed.propertyNames = below(node.propertyNames, path);
  if (node.items !== undefined && !Array.isArray(node.items)) changed.items = below(node.items, path);
  if (node.anyOf !== undefined) changed.anyOf = node.anyOf.map((choice) => forChart(choice, path));
  return changed;
}

function below(node: z.core.JSONSchema._JSONSchema, path: readonly string[]): z.core.JSONSchema._JSONSchema {
  return typeof node === "boolean" ? node : forChart(node, path);
}
