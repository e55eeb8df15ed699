/** Opens what decides which client may pull: identities, access rules, and the probes of what upstreams show without a credential. */
import { BlockList } from "node:net";
import type { Clock } from "../async/clock.ts";
import type { Client, Network } from "../config/values.ts";
import { ConfigError, type Issue } from "../config/issue.ts";
import type { Config } from "../config/load.ts";
import type { OpenUpstream } from "./upstreams.ts";
import { Identities } from "../http/identity.ts";
import { Tokens } from "../http/tokens.ts";
import type { UpstreamVisibility } from "../mirror/access.ts";
import type { MirrorOptions } from "../mirror/mirror.ts";
import type { AccessRule, AccessSubject } from "../mirror/accessRules.ts";
import { parseRepositoryGlob } from "../oci/pattern.ts";
import { openFreeBucket, type QuotaBucket } from "../quota/bucket.ts";
import type { Visibilities } from "../store/state.ts";
import type { Log } from "../telemetry/log.ts";
import { UpstreamError } from "../upstream/error.ts";
import { isVisible } from "../upstream/visibilityProbe.ts";

/** Without a section `access`, both are absent. */
export interface OpenAccess {
  readonly access?: NonNullable<MirrorOptions["access"]>;
  readonly identities?: Identities;
  close(): Promise<void>;
}

/** Opens what the configuration says of access. @throws ConfigError when a file of clients' secrets cannot be used. */
export async function openAccess(
  config: Config,
  connected: ReadonlyMap<string, OpenUpstream>,
  visibilities: Visibilities,
  log: Log,
  clock: Clock,
): Promise<OpenAccess> {
  if (!config.access) {
    warn(config, log);
    return { close: async () => {} };
  }
  await using open = new AsyncDisposableStack();
  const { tokens, htpasswdFile, challenge } = config.identities;
  const challenges = tokens.length > 0 || htpasswdFile !== undefined;
  const secrets = await openSecrets(config, log, clock, open);
  const identities = new Identities({
    ...secrets,
    trustedProxies: blockList(config.identities.trustedProxies),
    challenges: !challenges ? "never" : challenge,
  });
  const probes = new Map<string, UpstreamVisibility>();
  for (const [name, upstream] of connected) {
    const bucket = await openFreeBucket(name, upstream.bucket, clock);
    open.defer(() => bucket.close());
    probes.set(name, { ...visibilityOf(upstream, bucket), hasSecrets: hasSecrets(name, config) });
  }
  const closing = open.move();
  return {
    access: { rules: config.access.flatMap(rulesOf), probes, visibilities, challenges },
    identities,
    close: () => closing.disposeAsync(),
  };
}

function warn({ upstreams }: Config, log: Log): void {
  for (const [upstream, { credential }] of Object.entries(upstreams)) {
    if (!credential) continue;
    log.warn(
      { upstream },
      `all clients that reach the mirror endpoint may pull what the account of ${upstream} may, private images too: set access to change that (docs/security.md)`,
    );
  }
}

/** May an upstream have what a client without a credential would not get there? Its alternates count, too. */
function hasSecrets(name: string, { upstreams }: Config): boolean {
  const own = upstreams[name];
  return [name, ...(own?.alternates ?? [])].some((host) => upstreams[host]?.credential !== undefined);
}

/** What the registry of an upstream shows to a client without a credential, whose requests `free` counts. */
function visibilityOf(
  { registry, bucket }: OpenUpstream,
  free: QuotaBucket,
): Omit<UpstreamVisibility, "hasSecrets"> {
  const anonymousRegistry = registry.as(undefined, free);
  return {
    upstream: anonymousRegistry,
    async isPublic(repository, wanted, asked) {
      if (bucket.rehearsal?.mode === "down")
        throw new UpstreamError("unreachable", `${registry.name} is down: this is a rehearsal`);
      return isVisible(anonymousRegistry, repository, wanted, asked);
    },
  };
}

async function openSecrets({ identities }: Config, log: Log, clock: Clock, open: AsyncDisposableStack) {
  const failed = (path: string, error: unknown): void => {
    const why = error instanceof Error ? error.message : String(error);
    log.error({ path }, `${path} cannot be used, what was read before still counts: ${why}`);
  };
  const issues: Issue[] = [];
  const attempt = async <T>(setting: string, file: string, opening: () => Promise<T>) => {
    try {
      return await opening();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const path = `identities.${setting}`;
      issues.push({ path, value: JSON.stringify(file), expected: `a file that can be used: ${why}` });
      return undefined;
    }
  };
  const named = identities.tokens.map(({ name, file }, index) =>
    attempt(`tokens.${index}.file`, file, () => Tokens.open(name, file, { clock, failed })),
  );
  const { htpasswdFile: users } = identities;
  // bcrypt is loaded only where it is needed.
  const openPasswords = async (file: string) =>
    (await import("../http/passwords.ts")).Passwords.open(file, { clock, failed });
  const passwords =
    users === undefined ? undefined : await attempt("htpasswdFile", users, () => openPasswords(users));
  const tokens = (await Promise.all(named)).filter((each) => each !== undefined);
  for (const each of [...tokens, passwords]) if (each) open.defer(() => each.close());
  if (issues.length > 0) throw new ConfigError(issues);
  return { tokens, passwords };
}

type Written = NonNullable<Config["access"]>[number];

/** A rule for all upstreams becomes two: one for Docker Hub, whose short names mean longer ones, and one for all others. */
function rulesOf(rule: Written): AccessRule[] {
  return rule.upstream === "*" ? [ruleOf({ ...rule, upstream: "docker.io" }), ruleOf(rule)] : [ruleOf(rule)];
}

function ruleOf({ who, upstream, repositories, allow }: Written): AccessRule {
  const globs = repositories.map((glob) =>
    // Docker Hub's one-component names live under `library/`, as they do when they are pulled.
    upstream === "docker.io" && /^[^/]+$/.test(glob) && !glob.includes("**") ? `library/${glob}` : glob,
  );
  return {
    who: who.map(subjectOf),
    upstream,
    repositories: globs.flatMap((glob) => parseRepositoryGlob(glob) ?? []),
    allow,
  };
}

function subjectOf(client: Client): AccessSubject {
  switch (client.kind) {
    case "everybody":
    case "token":
    case "user":
      return client;
    case "certificate": {
      const parts = client.name.split("*").map((part) => RegExp.escape(part));
      return { kind: "certificate", name: new RegExp(`^${parts.join(".*")}$`) };
    }
    case "network":
      return { kind: "network", members: blockList([client]) };
  }
}

function blockList(networks: readonly Network[]): BlockList {
  const list = new BlockList();
  for (const { address, prefix, family } of networks) list.addSubnet(address, prefix, family);
  return list;
}
