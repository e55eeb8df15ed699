/** What a node knows of its mirror: the files of `hubcap client-config`, written by the command itself. */
import { runHubcap } from "../run.ts";

/** Writes the files of a runtime below `folder`. `more` are further arguments, such as `--no-fallback`. */
export async function writeClientConfig(
  runtime: string,
  mirror: string,
  folder: string,
  more: readonly string[] = [],
): Promise<void> {
  const args = ["client-config", runtime, "--mirror", mirror, "--write", folder, ...more];
  const { code, errors } = await runHubcap(args);
  if (code !== 0) throw new Error(errors);
}
