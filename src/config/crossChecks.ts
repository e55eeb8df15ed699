/** The rules that join one setting to another. What is wrong with a single value, the schema says itself. */
import { hostOf, type Pattern } from "../oci/pattern.ts";
import type { Report } from "./issue.ts";
import { checkAlerts } from "./alerts.ts";
import type { Settings } from "./schema.ts";
import { checkWarm } from "./warm.ts";
import { checkVerify } from "./verify.ts";

/** Reports each rule that the settings break. `hosts` are the upstreams as they are written, rightly or wrongly. */
export function checkRules(settings: Settings, hosts: readonly string[], report: Report): void {
  const { registry, status, storage, upstreams, defaultUpstream, quota, verify } = settings;

  if (
    registry.listen.port !== 0 &&
    registry.listen.port === status.listen.port &&
    overlap(registry.listen.host, status.listen.host)
  )
    report(["status", "listen"], "another address or port than registry.listen");

  for (const [name, { tls }] of Object.entries({ registry, status })) {
    if (tls?.clientCertificates !== undefined && tls.clientCaFile === undefined)
      report([name, "tls", "clientCertificates"], "clientCaFile beside it");
  }

  checkAccess(settings, hosts, report);

  if (settings.workers > 1 && isDecidedByOne(settings))
    report(["workers"], "1 beside access, policy, verify or tracing, which only one process can see to");

  if (!hosts.includes(defaultUpstream))
    report(["defaultUpstream"], `one of the configured upstreams: ${hosts.join(", ")}`);

  if (storage.highWater < storage.lowWater) report(["storage", "highWater"], "no less than storage.lowWater");

  for (const [index, { maxAge, unusedFor }] of storage.retention.entries()) {
    if (maxAge === undefined && unusedFor === undefined)
      report(["storage", "retention", `${index}`], "maxAge or unusedFor beside match");
  }

  if (settings.audit.file !== undefined && settings.audit.stdout)
    report(["audit", "stdout"], "false beside audit.file");

  checkAlerts(settings.alerts, report);

  checkWarm(settings.warm, { upstreams: new Set(hosts), defaultUpstream }, report);

  if (quota.low < quota.reserve) report(["quota", "low"], "no less than quota.reserve");

  checkVerify(verify, report);

  checkPatterns(settings, hosts, report);

  for (const [host, { alternates, quota: own }] of Object.entries(upstreams)) {
    const at = ["upstreams", host];
    for (const [index, alternate] of alternates.entries()) {
      if (alternate === host || !hosts.includes(alternate))
        report([...at, "alternates", `${index}`], "another one of the configured upstreams");
    }
    if ((own.limit === undefined) !== (own.window === undefined))
      report([...at, "quota"], "limit and window, or neither");
    if (own.reserve !== undefined && quota.low < own.reserve)
      report([...at, "quota", "reserve"], "no more than quota.low");
  }
}

/** Does every pull need more than what the catalog says? */
function isDecidedByOne({ access, policy, verify, tracing }: Settings): boolean {
  const { rules, immutableTags } = policy;
  return (
    access !== undefined ||
    rules.length + immutableTags.length + verify.length > 0 ||
    tracing.endpoint !== undefined
  );
}

/** A rule that can never match is a mistake, and here one that may let clients in. */
function checkAccess(
  { access, identities, registry }: Settings,
  hosts: readonly string[],
  report: Report,
): void {
  const names = identities.tokens.map(({ name }) => name);
  for (const [index, name] of names.entries()) {
    if (names.indexOf(name) !== index) report(["identities", "tokens", `${index}`], "a name of its own");
  }
  for (const [index, { who, upstream }] of (access ?? []).entries()) {
    const at = ["access", `${index}`];
    if (upstream !== "*" && !hosts.includes(upstream))
      report([...at, "upstream"], "one of the configured upstreams, or *");
    for (const [place, client] of who.entries()) {
      const fail = (expected: string): void => report([...at, "who", `${place}`], expected);
      if (client.kind === "token" && !names.includes(client.name)) fail("a token of identities.tokens");
      if (client.kind === "user" && identities.htpasswdFile === undefined)
        fail("identities.htpasswdFile beside it");
      if (client.kind === "certificate" && registry.tls?.clientCaFile === undefined)
        fail("registry.tls.clientCaFile beside it");
    }
  }
}

/** The same for images: one whose registry has another name here would be pulled past the rule. */
function checkPatterns({ policy, verify }: Settings, hosts: readonly string[], report: Report): void {
  const check = (patterns: readonly Pattern[], ...at: readonly string[]): void => {
    for (const [index, pattern] of patterns.entries()) {
      const host = hostOf(pattern);
      if (host !== undefined && !hosts.includes(host))
        report([...at, `${index}`], `images of one of the configured upstreams: ${hosts.join(", ")}`);
    }
  };
  for (const [index, { match }] of policy.rules.entries())
    check(match, "policy", "rules", `${index}`, "match");
  check(policy.immutableTags, "policy", "immutableTags");
  for (const [index, { repositories }] of verify.entries())
    check(repositories, "verify", `${index}`, "repositories");
}

/** Whether two listeners on one port would meet. */
function overlap(one: string, other: string): boolean {
  const wildcards = ["0.0.0.0", "::"];
  return one === other || wildcards.includes(one) || wildcards.includes(other);
}
