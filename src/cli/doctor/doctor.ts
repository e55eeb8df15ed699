/** `hubcap doctor`: why an image cannot be pulled from here, step by step and in one sentence. */
import { parsePlatform } from "../../oci/platform.ts";
import { readConfiguration, parseOrigin, readText } from "../input.ts";
import { UsageError } from "../exit.ts";
import { diagnose, type Diagnosis } from "./diagnose.ts";
import type { Step } from "./journal.ts";

/** The command's options as they were given. */
export interface DoctorOptions {
  readonly mirror?: string | undefined;
  readonly platform?: string | undefined;
  readonly status?: string | undefined;
  readonly tokenFile?: string | undefined;
  readonly ca?: string | undefined;
  readonly timeout?: string | undefined;
  readonly json?: boolean | undefined;
  readonly config?: string | undefined;
}

const help = "See hubcap doctor --help";

const ownPlatform = `linux/${process.arch === "x64" ? "amd64" : process.arch}`;

/** Prints the steps and the verdict; whether the pull would work. @throws UsageError, ConfigError */
export async function doctor(images: readonly string[], options: DoctorOptions): Promise<boolean> {
  const [image] = images;
  if (image === undefined || images.length > 1) throw new UsageError(`doctor takes one IMAGE. ${help}`);
  const { mirror, status, tokenFile, ca, timeout } = options;
  const platform = parsePlatform(options.platform ?? ownPlatform);
  if (!platform) throw new UsageError(`--platform takes OS/ARCH, such as linux/arm64. ${help}`);
  if (timeout !== undefined && !/^\d{1,4}(?:\.\d+)?$/.test(timeout)) {
    throw new UsageError(`--timeout takes seconds, such as 5. ${help}`);
  }
  const diagnosis = await diagnose({
    image,
    platform,
    ...(mirror !== undefined && { mirror: readUrl("--mirror", mirror) }),
    ...(status !== undefined && { status: readUrl("--status", status) }),
    ...(tokenFile !== undefined && { token: readText("--token-file", tokenFile).trim() }),
    ...(ca !== undefined && { ca: readText("--ca", ca) }),
    ...(timeout !== undefined && { timeoutMs: Number(timeout) * 1000 }),
    config: readConfiguration(options.config),
    env: process.env,
    now: Date.now,
    tell: options.json ? () => undefined : tell(),
  });
  console.log(options.json ? JSON.stringify(diagnosis, undefined, 2) : ending(diagnosis));
  return diagnosis.works;
}

const heads = {
  image: "the image",
  mirror: "through the mirror",
  straight: "straight to the registry",
} as const;

/** Prints steps as they come, under a head for each way. */
function tell(): (step: Step) => void {
  let way: Step["way"] | undefined;
  return (step) => {
    if (step.way !== way) console.log(heads[step.way]);
    way = step.way;
    const time = step.state === "skipped" ? "" : `${step.ms} ms`;
    console.log(`  ${step.state.padEnd(7)}  ${step.name.padEnd(8)}  ${time.padStart(10)}  ${step.text}`);
  };
}

function ending({ spent, verdict }: Diagnosis): string {
  const cost =
    spent === 0
      ? "nothing"
      : `${spent} ${spent === 1 ? "pull" : "pulls"} by the mirror, which keeps what came`;
  return `spent: ${cost}\nverdict: ${verdict.code} (docs/troubleshooting.md#${verdict.code})\n${verdict.sentence}`;
}

function readUrl(option: string, text: string): URL {
  const url = parseOrigin(text);
  if (url) return url;
  throw new UsageError(
    `${option} takes an http or https URL without a path, such as http://hubcap.example:5000. ${help}`,
  );
}
