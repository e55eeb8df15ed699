/** Why a HEAD is refused stands in the status line, since there is no body: containerd asks for tags by HEAD, and kubelet shows what it prints. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { reasonPhrase } from "../../src/http/reply.ts";
import { ask, type Reply } from "../support/ask.ts";
import { buildImage } from "../support/images.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";

let hub: Hub;
let hubcap: Hubcap;

beforeAll(async () => {
  hub = await startHub();
  hub.push(await buildImage(), "library/app", "1");
  const policy = { rules: [{ match: ["docker.io/library/bad"], pull: "deny" }] };
  hubcap = await startHubcap({ config: { policy, upstreams: { "docker.io": upstreamOf(hub) } } });
});

afterAll(async () => {
  await hubcap.dispose();
  await hub.stop();
});

const head = (path: string): Promise<Reply> => ask(`${hubcap.url}/v2/${path}`, { method: "HEAD" });

test.each([
  [404, "library/app/manifests/none", /^docker\.io has no manifest library\/app:none - Hubcap$/],
  [403, "library/hidden/manifests/1", /^docker\.io (?!.*  ).* - Hubcap$/],
  [
    403,
    "library/bad/manifests/1",
    /^policy\.rules\.0 \(docker\.io\/library\/bad\) denies .*: pull another image, or have the rule changed - Hubcap$/,
  ],
  [400, "library/app/manifests/.1", /^the reference is neither a tag nor a digest.* - Hubcap$/],
])("%i for %s", async (status, path, phrase) => {
  const reply = await head(path);
  expect([reply.status, reply.body.length]).toEqual([status, 0]);
  expect(reply.phrase).toMatch(phrase);
});

test("429 says until when, 503 what does not answer", async () => {
  const limited = hub.fault({ kind: "status", status: 429, path: /\/manifests\/many$/ });
  expect(await head("library/app/manifests/many")).toMatchObject({ status: 429 });
  const refused = await head("library/app/manifests/many");
  limited.remove();
  expect([refused.status, refused.phrase]).toEqual([
    429,
    expect.stringMatching(/^docker\.io answered .*; it is requested again at .* - Hubcap$/),
  ]);
  await hub.registry.down();
  const reply = await head("library/app/manifests/down");
  expect([reply.status, reply.phrase]).toEqual([
    503,
    expect.stringMatching(/^127\.0\.0\.1:\d+ cannot be reached: the connection was refused - Hubcap$/),
  ]);
});

test("nothing that an upstream or a client sent can end the line, and it is cut after a clause", () => {
  expect(reasonPhrase("it said “no\r\nSet-Cookie: a=1”")).toBe(
    String.raw`it said \u201cno\u000d\u000aSet-Cookie: a=1\u201d - Hubcap`,
  );
  const clause = "x".repeat(90);
  expect(reasonPhrase(`${clause}; ${clause}; ${clause}`)).toBe(`${clause}; ${clause} - Hubcap`);
  expect(reasonPhrase("x".repeat(500))).toHaveLength(200 + " - Hubcap".length);
});
