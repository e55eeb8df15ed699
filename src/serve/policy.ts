/** Opens the policy: its rules, the signatures that it demands, and what listens to its events. */
import type { Config } from "../config/load.ts";
import { ConfigError } from "../config/issue.ts";
import type { PolicyEvent, PolicySettings } from "../mirror/policy.ts";
import type { VerifyRule } from "../mirror/policyRules.ts";
import { formatImage, formatRepository } from "../oci/reference.ts";
import type { Health } from "../store/health.ts";
import { TolerantSightings, TolerantVerdicts } from "../store/tolerant.ts";
import type { Store } from "../store/open.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { openCosign, TrustError } from "../trust/cosign.ts";
import type { SignatureJudge } from "../trust/signature.ts";

type Cosign = NonNullable<Config["verify"][number]["cosign"]>;

type Listener = (event: PolicyEvent) => void;

/** The mirror's policy, and the source of its events. @throws ConfigError when a key or a trusted root cannot be used */
export async function openPolicy(
  config: Config,
  { verdicts, state: { anchors, sightings, proof } }: Pick<Store, "verdicts" | "state">,
  health: Health,
  log: Log,
  metrics: Metrics,
) {
  const listeners = new Set<Listener>([(event) => record(event, log, metrics)]);
  const { rules, immutableTags } = config.policy;
  const policy: PolicySettings = {
    rules,
    immutableTags,
    verify: await verifyRules(config),
    verdicts: new TolerantVerdicts(verdicts, health),
    anchors,
    sightings: new TolerantSightings(sightings, health),
    proof,
    tell: (event) => listeners.forEach((listener) => listener(event)),
  };
  const policyEvents = {
    on(listener: Listener): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
  return { policy, policyEvents };
}

async function verifyRules({ verify }: Config): Promise<VerifyRule[]> {
  const rules: VerifyRule[] = [];
  for (const [index, { repositories, cosign }] of verify.entries()) {
    const name = `verify.${index}`;
    rules.push({ repositories, ...(cosign && { judge: await judgeOf(name, cosign) }) });
  }
  return rules;
}

async function judgeOf(name: string, cosign: Cosign): Promise<SignatureJudge> {
  const { keys, identities, trustedRootFile: trustedRoot } = cosign;
  try {
    return await openCosign({ name, keys, identities, ...(trustedRoot !== undefined && { trustedRoot }) });
  } catch (error) {
    if (!(error instanceof TrustError)) throw error;
    throw new ConfigError([
      {
        path: `${name}.cosign`,
        value: error.message,
        expected: "keys in PEM and a trusted root of sigstore",
      },
    ]);
  }
}

/** Counts and logs an event; refusals only count, since the request's own log line says why. */
function record(event: PolicyEvent, log: Log, metrics: Metrics): void {
  const { upstream } = event.repository;
  if (event.type === "refused") {
    metrics.policyRefusals.inc({ upstream, reason: event.reason });
    return;
  }
  const { repository, tag, first, now } = event;
  metrics.immutableMoves.inc({ upstream });
  log.error(
    { upstream, repository: formatRepository(repository), tag, first, now },
    `the immutable tag ${formatImage(repository, tag)} has moved upstream: ${first} is still served; find out who moved it and why`,
  );
}
