/** `hubcap warm`, run as people run it, against a real Hubcap. */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Hubcap } from "../support/hubcap.ts";
import { buildImage } from "../support/images.ts";
import { entry, runHubcap } from "../support/run.ts";
import { folder, openWarmSetup, tokenFile } from "../support/warm.ts";

/** Runs `hubcap warm` to its end; what it says on standard error, by lines. */
async function warm(hubcap: Hubcap | undefined, args: readonly string[], input = "") {
  const own = hubcap ? ["--status", hubcap.statusUrl, "--token-file", tokenFile] : [];
  const { code, output, errors } = await runHubcap(["warm", ...own, ...args], {}, input);
  return { code, output, errors: errors.trimEnd().split("\n") };
}

test("a list with comments and blank lines is fetched, a line for each image, and all held is 0", async () => {
  const { hub, hubcap } = await openWarmSetup();
  hub.push(await buildImage({ seed: "b" }), "library/b", "1");
  const file = join(folder, "images.txt");
  writeFileSync(file, "\uFEFF# what the shop needs\r\n\r\n  web:1   # the page\r\ndocker.io/library/b:1\r\n");
  const { code, output, errors } = await warm(hubcap, ["-f", file, "--platform", "linux/arm64"]);
  expect([code, output]).toEqual([0, "2 of 2 images are held\n"]);
  expect(errors.toSorted()).toEqual([
    expect.stringMatching(/^held docker\.io\/library\/b:1, \d+(\.\d)? KiB came in$/),
    expect.stringMatching(/^held docker\.io\/library\/web:1, /),
  ]);
  expect(hub.spent()).toBe(4);
  const again = await warm(hubcap, ["-f", "-", "--platform", "linux/arm64", "b:1", "--json"], "web:1\n");
  expect(JSON.parse(again.output)).toMatchObject({ total: 2, held: 2, failed: 0, left: 0 });
  expect(again.code).toBe(0);
  expect(hub.spent()).toBe(4);
});

test("all names that are wrong are reported at once, with their places, and nothing is fetched", async () => {
  const { hub, hubcap } = await openWarmSetup();
  const input = "web:1\n\nno such image\nquay.io/a/b\n";
  const { code, errors } = await warm(hubcap, ["-f", "-", "UPPER"], input);
  expect(code).toBe(1);
  expect(errors).toEqual([
    expect.stringMatching(/^command line: UPPER: "UPPER" is not a repository name/),
    expect.stringMatching(/^stdin:3: no such image: /),
    expect.stringMatching(/^stdin:4: quay\.io\/a\/b: the source host "quay\.io" is not served here/),
    "hubcap: 3 of 4 images cannot be warmed, so none is: correct the above",
  ]);
  expect(hub.counts.requests).toEqual([]);
});

test("when the quota runs low it ends with 1 and says what is left, and when to go on", async () => {
  const { hub, hubcap } = await openWarmSetup({ limit: 4 }, { warm: { concurrency: 1 } });
  hub.push(await buildImage({ seed: "b" }), "library/b", "1");
  const { code, output, errors } = await warm(hubcap, ["web:1", "b:1", "b:2"]);
  expect([code, output]).toEqual([1, "1 of 3 images are held\n"]);
  // An image that failed may be reported before the job is over, or with what is left.
  expect(errors.toSorted()).toEqual([
    "failed docker.io/library/b:2: docker.io has no manifest library/b:2",
    expect.stringMatching(/^held docker\.io\/library\/web:1/),
    expect.stringMatching(
      /^hubcap: 1 failed; 1 left for want of quota: go on at 20\S+:\d\dZ \(in \d.*\), or use --wait$/,
    ),
    expect.stringMatching(
      /^left docker\.io\/library\/b:1: .* has 2 of 4 pulls in 6 h left, which are kept for/,
    ),
  ]);
  expect(errors.at(-1)).toMatch(/^hubcap: /);
});

test.each([
  [[], "it needs an image, -f FILE or --from-cluster"],
  [
    ["web", "--platform", "amd64", "--platform", "linux"],
    '--platform takes a platform such as linux/amd64 or linux/arm/v7, or all; not "amd64", "linux"',
  ],
  [["web", "-n", "shop"], "--namespace and --kubeconfig belong to --from-cluster"],
  [["-f", "/does/not/exist"], "--file /does/not/exist cannot be read"],
  [["-f", "-"], "no image is listed in -"],
])("%j is a wrong command line", async (args, reason) => {
  const { code, errors } = await warm(undefined, args);
  expect([code, errors]).toEqual([2, [expect.stringContaining(`hubcap: ${reason}`)]]);
});

test("without the token, or without a Hubcap, it is one line and 1", async () => {
  const { hubcap } = await openWarmSetup();
  const status = ["--status", hubcap.statusUrl, "web:1"];
  expect(await warm(undefined, status)).toMatchObject({
    code: 1,
    errors: ["hubcap: this call needs the admin token, as Authorization: Bearer TOKEN"],
  });
  await hubcap.stop();
  expect(await warm(hubcap, ["web:1"])).toMatchObject({
    code: 1,
    errors: [expect.stringMatching(/^hubcap: no Hubcap answers at .*ECONNREFUSED$/)],
  });
});

test("interrupted, it cancels what it ordered", async () => {
  const { hub, hubcap } = await openWarmSetup();
  const hang = hub.fault({ kind: "hang", asks: "manifest" });
  const args = [entry, "warm", "--status", hubcap.statusUrl, "--token-file", tokenFile, "web:1"];
  const ended = new Promise<{ code: unknown; errors: string }>((resolve) => {
    const child = execFile(process.execPath, args, (error, _output, errors) =>
      resolve({ code: error?.code, errors }),
    );
    void hang.held().then(() => child.kill("SIGINT"));
  });
  expect(await ended).toMatchObject({ code: 1, errors: "hubcap: 1 cancelled\n" });
  expect(await hubcap.status("/api/v1/warm")).toMatchObject({ jobs: [{ state: "cancelled", left: 1 }] });
});
