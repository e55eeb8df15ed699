/** `hubcap doctor`: each cause that it knows is made for real, and must be reported by its code, its sentence and its exit code. */
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { verdicts } from "../../src/cli/doctor/verdicts.ts";
import { ask } from "../support/ask.ts";
import { makeAuthority } from "../support/certificates.ts";
import {
  configWith,
  diagnose,
  failure,
  fileWith,
  frontOf,
  hubWith,
  push,
  serve,
  verdictsSeen,
} from "../support/doctor.ts";
import { htmlFault } from "../support/faults.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";
import { runHubcap } from "../support/run.ts";

const image = "docker.io/library/app:1";
const credential = { username: "cluster", password: "right" };
const byText = (one: string, other: string): number => one.localeCompare(other);
const day = 24 * 3600_000;

let hub: Hub;
let hubcap: Hubcap;

beforeAll(async () => {
  hub = await startHub({ accounts: { cluster: { password: "right" } } });
  await push(hub, "library/app");
  await push(hub, "team/secret");
  hub.shelf.restrict("team/secret", ["somebody"]);
  hubcap = await startHubcap({ config: { upstreams: { "docker.io": upstreamOf(hub, { credential }) } } });
  return async () => {
    await hubcap.dispose();
    await hub.stop();
  };
});

beforeEach(() => {
  hub.faults.clear();
  hub.counts.reset();
});

/** The configuration that leads straight to the stand-in. */
const straight = (to = hub, settings: object = {}): string[] => [
  "--config",
  configWith({ "docker.io": upstreamOf(to, settings) }),
];

const mirrored = (): string[] => ["--mirror", hubcap.url, "--status", hubcap.statusUrl];

const ways: [name: string, args: () => string[]][] = [
  ["straight", () => []],
  ["through the mirror", mirrored],
];

describe("a pull that works", () => {
  test("straight: nothing is spent, and what a pull would cost is not read", async () => {
    const { verdict, works, steps, spent } = await diagnose({ args: [image, ...straight()] });
    expect(verdict).toEqual({
      code: "ok",
      sentence: expect.stringMatching(
        /^The pull works: docker.io\/library\/app:1 can be pulled straight .*100 of 100 pulls are left/,
      ),
    });
    expect([works, spent, hub.spent()]).toEqual([true, 0, 0]);
    expect(steps.map(({ name, state }) => [name, state])).toEqual([
      ["name", "ok"],
      ["dns", "skipped"],
      ["tcp", "ok"],
      ["registry", "ok"],
      ["token", "ok"],
      ["manifest", "ok"],
      ["limit", "ok"],
      ["platform", "skipped"],
    ]);
  });

  test("through the mirror: the mirror pays for what it did not hold, the second time costs nothing", async () => {
    const before = hub.spent("cluster");
    const first = await diagnose({ args: [image, ...mirrored(), ...straight()] });
    expect(first.verdict.code).toBe("ok");
    expect(first.verdict.sentence).toContain(`comes through ${hubcap.url}`);
    expect(first.spent).toBe(hub.spent("cluster") - before);
    expect(first.spent).toBeGreaterThan(0);
    const second = await diagnose({ args: [image, ...mirrored(), ...straight()] });
    expect(second.spent).toBe(0);
    expect(hub.spent("cluster") - before).toBe(first.spent);
    expect(hub.spent()).toBe(0);
    expect(second.steps.filter(({ name }) => name === "layer").map(({ way, state }) => [way, state])).toEqual(
      [
        ["mirror", "ok"],
        ["straight", "ok"],
      ],
    );
  });

  test("a registry that does not count is read to the first byte of a layer", async () => {
    const free = await hubWith({ auth: "none", limit: "unlimited" });
    const { verdict, steps } = await diagnose({
      args: [image, "--platform", "linux/arm64", ...straight(free)],
    });
    expect(verdict.code).toBe("ok");
    expect(steps.find(({ name }) => name === "platform")?.text).toContain("linux/arm64 is among");
    expect(steps.at(-1)).toMatchObject({ name: "layer", state: "ok" });
  });

  test("for people: a line for each step, and the sentence as the last line", async () => {
    const { code, output, errors } = await runHubcap(["doctor", image, ...mirrored(), ...straight()]);
    expect([code, errors]).toEqual([0, ""]);
    const lines = output.trimEnd().split("\n");
    expect(lines).toContain("through the mirror");
    expect(lines).toContain("straight to the registry");
    expect(lines.slice(-3, -1)).toEqual(["spent: nothing", "verdict: ok (docs/troubleshooting.md#ok)"]);
    expect(lines.at(-1)).toMatch(/^The pull works: /);
  });

  test("one that would fail ends with 1, and nothing on standard error", async () => {
    const { code, output, errors } = await runHubcap(["doctor", "docker.io/library/App:1"]);
    expect([code, errors]).toEqual([1, ""]);
    expect(output).toMatch(
      /\nverdict: name-invalid \(docs\/troubleshooting.md#name-invalid\)\nkubelet shows InvalidImageName [^\n]+\n$/,
    );
  });

  test("though the disk of the mirror is full: mirror-disk", async () => {
    const full = await frontOf(hub, { credential }, { minFree: "900TiB" });
    await expect
      .poll(async () => (await ask(`${full.statusUrl}/readyz`)).body.toString())
      .toContain("degraded");
    const { verdict, works } = await diagnose({
      args: [image, "--mirror", full.url, "--status", full.statusUrl, ...straight()],
    });
    expect([verdict.code, works]).toEqual(["mirror-disk", true]);
    expect(verdict.sentence).toMatch(/^The pull works, but on the mirror the disk is full: /);
  });
});

describe("the image", () => {
  test.each(["docker.io/library/App:1", "docker.io/library/app:", "a b", "docker.io/library/app@sha256:12"])(
    "%s: name-invalid, as kubelet's InvalidImageName",
    async (name) => {
      const [code, sentence] = await failure(name);
      expect(code).toBe("name-invalid");
      expect(sentence).toMatch(/^kubelet shows InvalidImageName because /);
    },
  );

  test.each(ways)("%s: tag-unknown, with the tag that was meant", async (_way, way) => {
    const [code, sentence] = await failure("docker.io/library/app:1.92", ...way(), ...straight());
    expect(code).toBe("tag-unknown");
    expect(sentence).toBe(
      "kubelet shows ErrImagePull, then ImagePullBackOff, because there is no docker.io/library/app:1.92: correct the tag, perhaps to 1.29.",
    );
    expect(hub.spent()).toBe(0);
  });

  test("name-unknown where the registry says so, straight and through the mirror", async () => {
    const open = await hubWith({ auth: "none" });
    const front = await frontOf(open);
    const wrong = "docker.io/library/ap:1";
    expect((await failure(wrong, ...straight(open)))[0]).toBe("name-unknown");
    expect((await failure(wrong, "--mirror", front.url, ...straight(open)))[0]).toBe("name-unknown");
  });

  test("platform-missing, with those that are there", async () => {
    const [code, sentence] = await failure(image, "--platform", "linux/s390x", ...mirrored(), ...straight());
    expect(code).toBe("platform-missing");
    expect(sentence).toContain("is not built for linux/s390x, only for linux/amd64, linux/arm64");
  });

  test.each(ways)("%s: no-access to what is private, or not there", async (_way, way) => {
    const [code, sentence] = await failure("docker.io/team/secret:1", ...way(), ...straight());
    expect(code).toBe("no-access");
    expect(sentence).toContain("or it does not exist");
  });
});

describe("the account", () => {
  test("credential-refused: a wrong or expired password, straight and at the mirror", async () => {
    const upstreams = { "docker.io": upstreamOf(hub, { credential: { ...credential, password: "old" } }) };
    const [code, sentence] = await failure(image, "--config", configWith(upstreams));
    expect(code).toBe("credential-refused");
    expect(sentence).toContain('refused account "cluster"');
    const wrong = await frontOf(hub, { credential: { ...credential, password: "old" } });
    expect((await failure(image, "--mirror", wrong.url, ...straight()))[0]).toBe("credential-refused");
  });

  test("credential-refused: where registries ask for Basic", async () => {
    const basic = await hubWith({ auth: "basic", accounts: { cluster: { password: "right" } } });
    const wrong = { credential: { ...credential, password: "old" } };
    expect((await failure(image, ...straight(basic, wrong)))[0]).toBe("credential-refused");
  });

  test("rate-limited: straight by the free HEAD, and through the mirror by its word", async () => {
    const spent = await hubWith({ limit: 2 });
    spent.consume(2);
    const [code, sentence] = await failure(image, ...straight(spent));
    expect([code, spent.counts.manifestGets.total]).toEqual(["rate-limited", 0]);
    expect(sentence).toContain("docker.io has none of 2 pulls left for 127.0.0.1");
    const front = await frontOf(spent);
    const [through, another] = await failure(image, "--mirror", front.url, ...straight());
    expect(through).toBe("rate-limited");
    expect(another).toContain("the mirror says that");
  });

  test("token-realm: a token service that is not allowed", async () => {
    const upstreams = { "docker.io": { url: hub.url, allowPrivateAddresses: true } };
    const [code, sentence] = await failure(image, "--config", configWith(upstreams));
    expect(code).toBe("token-realm");
    expect(sentence).toContain(hub.tokenService.url);
  });
});

describe("the network", () => {
  test("dns, of the registry and of the mirror", async () => {
    const [code, sentence] = await failure("registry.invalid/team/app:1");
    expect(code).toBe("dns");
    expect(sentence).toContain("registry.invalid does not resolve here");
    expect((await failure(image, "--mirror", "http://mirror.invalid:5000", ...straight()))[0]).toBe("dns");
  });

  test("refused", async () => {
    const closed = await startHub();
    await closed.stop();
    const [code, sentence] = await failure(image, ...straight(closed));
    expect(code).toBe("refused");
    expect(sentence).toContain("refuses connections");
  });

  test("timeout", async () => {
    hub.fault({ kind: "hang", asks: "manifest" });
    const [code, sentence] = await failure(image, "--timeout", "0.5", ...straight());
    expect(code).toBe("timeout");
    expect(sentence).toContain("did not answer in time");
  });

  test("private-address", async () => {
    const port = new URL(hub.url).port;
    const upstreams = { "docker.io": { url: `https://localhost:${port}` } };
    const authority = makeAuthority();
    const other = await hubWith({ tls: authority.issue({ names: ["localhost"] }), host: "localhost" });
    const config = configWith({ "docker.io": { ...upstreams["docker.io"], url: other.url } });
    const [code] = await failure(image, "--ca", fileWith(authority.cert), "--config", config);
    expect(code).toBe("private-address");
  });

  test("layer-unreachable: the registry answers, and sends to a host that does not", async () => {
    const free = await hubWith({ auth: "none", limit: "unlimited" });
    await free.cdn.down();
    const [code, sentence] = await failure(image, ...straight(free));
    expect(code).toBe("layer-unreachable");
    expect(sentence).toContain(new URL(free.cdn.url).host);
  });
});

describe("TLS", () => {
  const authority = makeAuthority();

  test.each([
    ["tls-untrusted", { names: ["localhost"] }, false],
    ["tls-name", { names: ["elsewhere.example"] }, true],
    [
      "tls-expired",
      {
        names: ["localhost"],
        notBefore: new Date(Date.now() - 2 * day),
        notAfter: new Date(Date.now() - day),
      },
      true,
    ],
  ])("%s, of the registry and of the mirror", async (expected, leaf, isTrusted) => {
    const other = await hubWith({ tls: authority.issue(leaf), host: "localhost" });
    const trust = isTrusted ? ["--ca", fileWith(authority.cert)] : [];
    expect((await failure(image, ...trust, ...straight(other)))[0]).toBe(expected);
    expect((await failure(image, ...trust, "--mirror", other.url, ...straight()))[0]).toBe(expected);
  });

  test("tls-none: https where http is spoken", async () => {
    const [code] = await failure(image, "--mirror", hubcap.url.replace("http:", "https:"), ...straight());
    expect(code).toBe("tls-none");
  });

  test("clock-wrong: the certificate is bad only because this machine is ahead of the server", async () => {
    const span = { notBefore: new Date(Date.now() - 3 * day), notAfter: new Date(Date.now() - day) };
    const then = new Date(Date.now() - 2 * day).toUTCString();
    const leaf = authority.issue({ names: ["localhost"], ...span });
    const url = await serve((_request, response) => void response.writeHead(200, { date: then }).end(), leaf);
    const args = [image, "--ca", fileWith(authority.cert), "--mirror", url.origin, ...straight()];
    const [code, sentence] = await failure(...args);
    expect(code).toBe("clock-wrong");
    expect(sentence).toContain("the clock of this machine is 2880 minutes ahead");
  });
});

describe("a proxy in the way", () => {
  test("a web page in place of the registry's answer", async () => {
    hub.fault(htmlFault);
    const [code, sentence] = await failure(image, ...straight());
    expect(code).toBe("proxy");
    expect(sentence).toContain("a web page comes in place of");
  });

  test("a proxy that the runtime would ask for the mirror", async () => {
    const proxy = await serve((_request, response) => void response.writeHead(503).end("no"));
    const args = [image, "--mirror", "http://hubcap.example:5000", ...straight()];
    const { verdict } = await diagnose({ args, env: { HTTP_PROXY: proxy.origin } });
    expect(verdict.code).toBe("proxy");
    expect(verdict.sentence).toContain("add hubcap.example to NO_PROXY");
  });

  test("a registry that can be reached by the proxy alone, which Hubcap does not use", async () => {
    const { verdict } = await diagnose({
      args: ["registry.invalid/team/app:1"],
      env: { HTTPS_PROXY: "http://127.0.0.1:9" },
    });
    expect(verdict.code).toBe("proxy");
    expect(verdict.sentence).toContain("let this host out to registry.invalid");
  });
});

describe("the mirror", () => {
  test("mirror-down: no listener, no answer, or the answer of a proxy", async () => {
    expect((await failure(image, "--mirror", "http://127.0.0.1:9", ...straight()))[0]).toBe("mirror-down");
    const silent = await serve(() => undefined);
    const args = [image, "--timeout", "0.5", "--mirror", silent.origin, ...straight()];
    expect((await failure(...args))[0]).toBe("mirror-down");
    const gateway = await serve(
      (_request, response) => void response.writeHead(502).end("<html>Bad Gateway</html>"),
    );
    expect((await failure(image, "--mirror", gateway.origin, ...straight()))[0]).toBe("mirror-down");
  });

  test("mirror-not-hubcap: a web server, and a registry that is another", async () => {
    const web = await serve((_request, response) => void response.writeHead(200).end("<html>hello</html>"));
    expect((await failure(image, "--mirror", web.origin, ...straight()))[0]).toBe("mirror-not-hubcap");
    const other = await hubWith({ auth: "none" });
    expect((await failure(image, "--mirror", other.url, ...straight()))[0]).toBe("mirror-not-hubcap");
  });

  test("mirror-status-port", async () => {
    const [code, sentence] = await failure(image, "--mirror", hubcap.statusUrl, ...straight());
    expect(code).toBe("mirror-status-port");
    expect(sentence).toContain("is Hubcap's status listener, not its registry");
  });

  test("policy-refused: a rule of the mirror's own", async () => {
    const policy = { rules: [{ match: ["docker.io/library/**"], pull: "deny" }] };
    const strict = await frontOf(hub, { credential }, {}, { policy });
    const [code, sentence] = await failure(image, "--mirror", strict.url, ...straight());
    expect(code).toBe("policy-refused");
    expect(sentence).toContain("the mirror says that");
  });

  test("mirror-login: it asks for a certificate", async () => {
    const authority = makeAuthority();
    const leaf = authority.issue({ names: ["localhost"] });
    const asking = { ...leaf, ca: authority.cert, requestCert: true, rejectUnauthorized: true };
    const url = await serve((_request, response) => void response.writeHead(200).end(), asking);
    const args = [image, "--ca", fileWith(authority.cert), "--mirror", url.origin, ...straight()];
    const [code, sentence] = await failure(...args);
    expect(code).toBe("mirror-login");
    expect(sentence).toContain("asks clients for a certificate");
  });

  test("mirror-login: it asks who is there", async () => {
    const shut = await serve(
      (_request, response) => void response.writeHead(401, { "www-authenticate": "Bearer" }).end(),
    );
    expect((await failure(image, "--mirror", shut.origin, ...straight()))[0]).toBe("mirror-login");
  });

  test("host-not-served", async () => {
    const [code, sentence] = await failure("ghcr.io/team/app:1", ...mirrored(), ...straight());
    expect(code).toBe("host-not-served");
    expect(sentence).toContain("does not serve the source host ghcr.io");
  });

  test("upstream-down, from the mirror's answer and from the registry's own", async () => {
    hub.fault({ kind: "status", status: 503, origin: "registry" });
    const fresh = "docker.io/library/app:1.29";
    expect((await failure(fresh, ...mirrored(), ...straight()))[0]).toBe("upstream-down");
    expect((await failure(fresh, ...straight()))[0]).toBe("upstream-down");
  });

  test("upstream-broken: what comes is not what was named", async () => {
    const other = await hubWith({ auth: "none" });
    const front = await frontOf(other);
    other.fault({ kind: "flip", at: 5, asks: "manifest", method: "GET" });
    const [code, sentence] = await failure(image, "--mirror", front.url, ...straight(other));
    expect(code).toBe("upstream-broken");
    expect(sentence).toContain("the mirror says that");
  });
});

test("every verdict there is was provoked above", () => {
  expect([...verdictsSeen].toSorted(byText)).toEqual(Object.keys(verdicts).toSorted(byText));
});

test.each([
  ["no image", [], "doctor takes one IMAGE"],
  ["two images", ["a", "b"], "doctor takes one IMAGE"],
  ["a platform that is none", ["a", "--platform", "amd64"], "--platform takes OS/ARCH"],
  ["a mirror that is no URL", ["a", "--mirror", "hubcap:5000"], "--mirror takes an http or https URL"],
  ["a time that is none", ["a", "--timeout", "soon"], "--timeout takes seconds"],
  ["a token file that is not there", ["a", "--token-file", "/nowhere"], "cannot be read"],
])("%s ends with 2 and one line", async (_what, args, reason) => {
  const { code, output, errors } = await runHubcap(["doctor", ...args]);
  expect([code, output]).toEqual([2, ""]);
  expect(errors).toMatch(/^hubcap: [^\n]+\n$/);
  expect(errors).toContain(reason);
});
