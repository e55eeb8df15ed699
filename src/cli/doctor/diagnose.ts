/** The whole diagnosis: the name, the way through the mirror, the way straight to the registry, and the one verdict. */
import { getCACertificates } from "node:tls";
import type { Config } from "../../config/load.ts";
import type { Platform } from "../../oci/descriptor.ts";
import { formatPlatform } from "../../oci/platform.ts";
import { ServerTime } from "./serverTime.ts";
import { readImage, type Wanted } from "./image.ts";
import { Journal, type Step } from "./journal.ts";
import { checkMirrorPath, type MirrorReport } from "./mirrorPath.ts";
import { checkDirectPath, type DirectReport } from "./directPath.ts";
import { Finding, isHarmless, sentenceOf, type VerdictCode } from "./verdicts.ts";

export interface DiagnoseOptions {
  readonly image: string;
  readonly platform: Platform;
  readonly mirror?: URL;
  readonly status?: URL;
  readonly token?: string;
  /** An authority (PEM) that is trusted besides the system's. */
  readonly ca?: string;
  /** How long a step may take, in ms. */
  readonly timeoutMs?: number;
  readonly config: Pick<Config, "upstreams">;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly now: () => number;
  /** Called with each step when it is done. */
  readonly tell: (step: Step) => void;
}

export interface Diagnosis {
  readonly image: string;
  /** Such as `linux/amd64`. */
  readonly platform: string;
  readonly steps: readonly Step[];
  /** Pulls that the diagnosis itself has spent, as the mirror tells it. */
  readonly spent: number;
  /** Whether the pull would work. */
  readonly works: boolean;
  readonly verdict: { readonly code: VerdictCode; readonly sentence: string };
}

/** As long as containerd waits for an answer. */
const patienceMs = 30_000;

export async function diagnose(options: DiagnoseOptions): Promise<Diagnosis> {
  const { image, platform, mirror, status, token, config, env, timeoutMs } = options;
  const journal = new Journal(options.tell);
  const clock = new ServerTime(options.now);
  const end = (finding: Finding, spent = 0, name = image): Diagnosis => ({
    image: name,
    platform: formatPlatform(platform),
    steps: journal.steps,
    spent,
    works: isHarmless(finding.code),
    verdict: { code: finding.code, sentence: sentenceOf(finding) },
  });

  let wanted: Wanted | undefined;
  try {
    await journal.run("image", "name", () => {
      wanted = readImage(image);
      return `it is ${wanted.name}, for ${formatPlatform(platform)}`;
    });
  } catch (error) {
    if (!(error instanceof Finding)) throw error;
    return end(error);
  }
  if (!wanted) throw new Error("a name was read, and is not there");

  const ca = [...authorities(), ...(options.ca === undefined ? [] : [options.ca])];
  const common = { journal, clock, wanted, platform, ca, env };
  const through = mirror
    ? await checkMirrorPath({ ...common, mirror, status, token, timeoutMs: timeoutMs ?? patienceMs })
    : undefined;
  const settings = config.upstreams[wanted.repository.upstream];
  const straight = await checkDirectPath({ ...common, settings, layer: through?.layer, timeoutMs });
  const { doubt } = clock;
  if (doubt !== undefined)
    journal.note({ way: "image", name: "clock", state: "warning", ms: 0, text: doubt });
  return end(judge(wanted, platform, through, straight, mirror), through?.spent, wanted.name);
}

/** Runtimes trust the system's authorities, Node its own. */
function authorities(): string[] {
  return [...new Set([...getCACertificates("default"), ...getCACertificates("system")])];
}

function judge(
  { name }: Wanted,
  platform: Platform,
  through: MirrorReport | undefined,
  straight: DirectReport,
  mirror: URL | undefined,
): Finding {
  const { finding } = through ?? straight;
  if (finding) {
    // The mirror knows that its upstream fails; the way straight may know why.
    const isVague =
      through !== undefined && (finding.code === "upstream-down" || finding.code === "upstream-broken");
    return isVague && straight.finding ? straight.finding : finding;
  }
  if (through?.disk !== undefined) return new Finding("mirror-disk", `on the mirror ${through.disk}`);
  if (!through) {
    const unread = straight.unread ? "; its platforms were not read, since that would spend a pull" : "";
    const left = straight.left === undefined ? "" : `, and ${straight.left}`;
    return new Finding("ok", `${name} can be pulled straight from its registry${left}${unread}`);
  }
  const only = straight.finding
    ? `, and only there, since straight from here ${straight.finding.message}`
    : "";
  return new Finding("ok", `${name} for ${formatPlatform(platform)} comes through ${mirror?.origin}${only}`);
}
