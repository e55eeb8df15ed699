/** How many files a reader opens to follow a pull: those of src that a HEAD of a tag that is not held passes through. */
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it, vi } from "vitest";
import { ask } from "../support/ask.ts";
import { startHub } from "../support/hub.ts";
import { startHubcap, upstreamOf } from "../support/hubcap.ts";
import { buildImage } from "../support/images.ts";

/** `PRINT_FILES=1` prints their names. */
const most = 30;

it(`a HEAD of a tag that is not held passes through at most ${most} files`, async () => {
  await using open = new AsyncDisposableStack();
  const hub = await startHub({ limit: "unlimited" });
  open.defer(() => hub.stop());
  for (const name of ["team/one", "team/two"]) hub.push(await buildImage({ seed: name }), name, "1");
  const called = join(await mkdtemp(join(tmpdir(), "hubcap-files-")), "called");
  const hubcap = await startHubcap({
    config: { upstreams: { "docker.io": upstreamOf(hub) } },
    env: { CALLED_FILES: called },
    nodeArgs: ["--import", fileURLToPath(new URL("../support/calledFiles.ts", import.meta.url))],
  });
  open.defer(() => hubcap.dispose());
  let taken = 0;
  const take = async (): Promise<string[]> => {
    taken += 1;
    process.kill(hubcap.pid, "SIGUSR2");
    await vi.waitUntil(() => hubcap.errors.includes(`called files ${taken}\n`), { timeout: 10_000 });
    return (await readFile(called, "utf8")).split("\n");
  };
  const head = async (name: string): Promise<void> => {
    const { status } = await ask(`${hubcap.url}/v2/${name}/manifests/1?ns=docker.io`, { method: "HEAD" });
    expect(status).toBe(200);
  };
  // The first one gets what all have in common, such as connections; what a start does in the background ends meanwhile.
  await head("team/one");
  await vi.waitUntil(async () => (await take()).every((file) => file === ""), {
    timeout: 10_000,
    interval: 500,
  });
  await head("team/two");
  const files = await take();
  if (process.env["PRINT_FILES"]) process.stdout.write(`${files.length} files:\n${files.join("\n")}\n`);
  expect(files).toContain("mirror/manifestPull.ts");
  expect(files.length).toBeLessThanOrEqual(most);
}, 60_000);
