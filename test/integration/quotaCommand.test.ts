/** `hubcap quota`, run as people run it: against a status listener that says what the test wants. */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { stripVTControlCharacters } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startHub } from "../support/hub.ts";
import { startHubcap, upstreamOf } from "../support/hubcap.ts";
import { runHubcap, type Ended } from "../support/run.ts";

const row = {
  name: "docker.io",
  account: "cluster",
  source: "127.0.0.1",
  state: "low",
  limit: 100,
  windowSeconds: 21_600,
  remaining: 27,
  reserve: 10,
  spentInWindow: 73,
  inFlight: 0,
  setAside: 0,
  waiting: 0,
  burnPerHour: 14.25,
  emptyAt: "2126-01-01T00:00:00Z",
  nextFreeAt: null,
  fullAt: null,
  learntFrom: "headers",
  observedAt: "2026-01-01T00:00:00Z",
  saved: { pulls: 1234, bytes: 5_583_457_485 },
  rehearsal: null,
};
const unlimited = {
  ...row,
  name: "ghcr.io",
  state: "unlimited",
  limit: null,
  remaining: null,
  emptyAt: null,
};
const unknown = { ...unlimited, name: "quay.io", state: "unknown" };

let server: Server;
let url: string;

beforeAll(async () => {
  server = createServer((incoming, outgoing) => {
    const known = incoming.url === "/api/v1/quota" || incoming.url === "/behind/api/v1/quota";
    outgoing.writeHead(known ? 200 : 404, { "content-type": "application/json" });
    outgoing.end(JSON.stringify(known ? { upstreams: [row, unlimited, unknown] } : { error: "no" }));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(() => void server.close());

/** Runs `hubcap quota` to its end. */
function quota(...args: string[]): Promise<Ended> {
  return quotaWith({}, ...args);
}

/** The same with `env` beside the machine's own, without what it says about colours. */
function quotaWith(env: NodeJS.ProcessEnv, ...args: string[]): Promise<Ended> {
  return runHubcap(["quota", ...args], { FORCE_COLOR: undefined, NO_COLOR: undefined, ...env });
}

test("prints an aligned table without colour where the output is no terminal", async () => {
  const { code, output, errors } = await quota("--status", url);
  expect([code, errors]).toEqual([0, ""]);
  expect(output).toMatch(/^[ -~\n]+$/);
  const lines = output.trimEnd().split("\n");
  expect(lines).toHaveLength(4);
  expect(lines[0]).toMatch(/^UPSTREAM +ACCOUNT +STATE +LEFT +SPENT +PER HOUR +EMPTY IN +MORE IN +SAVED$/);
  expect(lines[1]).toMatch(
    /^docker\.io +cluster +low +27 of 100 +73 in 6 h +14\.\d +\d+ d(?: \d+ h)? +- +1234 pulls, 5\.2 GiB$/,
  );
  expect(lines[2]).toMatch(/^ghcr\.io +cluster +unlimited +unlimited +/);
  expect(lines[3]).toMatch(/^quay\.io +cluster +unknown +unknown +/);
  for (const head of ["ACCOUNT", "STATE", "LEFT", "SPENT"]) {
    const column = lines[0]?.indexOf(head) ?? 0;
    for (const line of lines) expect(line.slice(column - 2, column + 1)).toMatch(/^ {2}\S$/);
  }
});

test("colours the state that calls for attention, and nothing else, where colours are wanted", async () => {
  const plain = await quota("--status", url);
  const { output } = await quotaWith({ FORCE_COLOR: "1" }, "--status", url);
  expect(output.replaceAll("\u001B[", "<").match(/<\d+m[^<]*/g)).toEqual([
    expect.stringMatching(/^<33mlow +$/),
    expect.stringMatching(/^<39m /),
  ]);
  expect(stripVTControlCharacters(output)).toBe(plain.output);
});

test("--json prints the rows, and those of one upstream with --upstream", async () => {
  const { code, output } = await quota("--status", `${url}/behind/`, "--json", "--upstream", "docker.io");
  expect(code).toBe(0);
  expect(JSON.parse(output)).toEqual({ upstreams: [row] });
});

test.each([
  ["enough are left", ["--upstream", "docker.io", "--fail-below", "27"], 0, ""],
  ["there is no limit", ["--upstream", "ghcr.io", "--fail-below", "1000"], 0, ""],
  ["nothing is asked for", [], 0, ""],
  [
    "fewer are left",
    ["--upstream", "docker.io", "--fail-below", "28"],
    1,
    "hubcap: 27 pulls of docker.io left, fewer than 28\n",
  ],
  [
    "it is not known",
    ["--upstream", "quay.io", "--fail-below", "1"],
    1,
    "hubcap: it is not known yet how many pulls of quay.io are left\n",
  ],
  [
    "one of all is not enough",
    ["--fail-below", "50"],
    1,
    "hubcap: 27 pulls of docker.io left, fewer than 50; it is not known yet how many pulls of quay.io are left\n",
  ],
  [
    "there is no such upstream",
    ["--upstream", "gcr.io"],
    1,
    "hubcap: there is no upstream gcr.io; there are docker.io, ghcr.io, quay.io\n",
  ],
])("when %s it ends with the code that says so", async (_when, args, code, errors) => {
  expect(await quota("--status", url, ...args)).toMatchObject({ code, errors });
});

test.each([
  [["--fail-below", "few"], "--fail-below takes a whole number of pulls"],
  [["--fail-below=-1"], "--fail-below takes a whole number of pulls"],
  [["--status", "localhost:5001"], "--status takes an http or https URL"],
  [["--statsu", "x"], "Unknown option '--statsu'"],
  [["docker.io"], "Unexpected argument 'docker.io'"],
])("%j is a wrong command line", async (args, reason) => {
  const { code, output, errors } = await quota(...args);
  expect([code, output]).toEqual([2, ""]);
  expect(errors).toMatch(/^hubcap: .+ See hubcap quota --help\n$/);
  expect(errors).toContain(reason);
});

test("when nothing answers, or something else does, it says so in one line", async () => {
  const { port } = new URL(url);
  expect(await quota("--status", "http://127.0.0.1:1")).toEqual({
    code: 1,
    output: "",
    errors: "hubcap: no Hubcap answers at http://127.0.0.1:1/api/v1/quota: ECONNREFUSED\n",
  });
  expect(await quota("--status", `http://127.0.0.1:${port}/elsewhere`)).toEqual({
    code: 1,
    output: "",
    errors: `hubcap: what answers at ${url}/elsewhere/api/v1/quota is not Hubcap's status listener\n`,
  });
});

test("asks a real Hubcap", async () => {
  const hub = await startHub();
  const hubcap = await startHubcap({ config: { upstreams: { "docker.io": upstreamOf(hub) } } });
  try {
    expect(await quota("--status", hubcap.statusUrl, "--fail-below", "100")).toMatchObject({ code: 0 });
    expect(await quota("--status", hubcap.statusUrl, "--fail-below", "101")).toMatchObject({ code: 1 });
  } finally {
    await hubcap.dispose();
    await hub.stop();
  }
});
