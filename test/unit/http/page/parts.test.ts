/** What the page says in each situation, and that nothing in it is taken for markup. */
import { expect, test } from "vitest";
import { partsOf } from "../../../../src/http/page/parts.ts";
import type { View } from "../../../../src/http/page/view.ts";
import type { Digest } from "../../../../src/oci/digest.ts";
import type { RepositoryName } from "../../../../src/oci/reference.ts";
import type { Snapshot } from "../../../../src/quota/snapshot.ts";
import { now, snapshotWith, viewWith } from "./views.ts";

const healthy = { failures: 0, knownDown: false };

/** The text of a part, as it is read. */
async function textOf(
  part: "verdict" | "quotas" | "failed" | "fills" | "disk" | "upstreams",
  view: Partial<View>,
) {
  const html = (await partsOf(viewWith(view))).get(part) ?? "";
  return html
    .replaceAll(/<[^>]*>/g, " ")
    .replaceAll(/\s+/g, " ")
    .trim();
}

function upstreamsOf(...quotas: Partial<Snapshot>[]) {
  return { upstreams: quotas.map((quota) => ({ quota: snapshotWith(quota), health: healthy })) };
}

test.each<[string, Partial<View>]>([
  ["All pulls are served.", {}],
  ["Pulls of docker.io run low.", upstreamsOf({ state: "low", remaining: 20 })],
  ["The last pulls of docker.io are kept for images that are not held.", upstreamsOf({ state: "reserve" })],
  [
    "No pull of docker.io and quay.io is left. What is held is still served.",
    upstreamsOf({ state: "exhausted" }, { name: "quay.io", state: "exhausted" }),
  ],
  [
    "An outage of docker.io is being rehearsed.",
    upstreamsOf({ rehearsal: { mode: "down", until: "2026-11-22T13:00:00Z" } }),
  ],
  [
    "docker.io does not answer. What is held is still served.",
    { upstreams: [{ quota: snapshotWith({}), health: { failures: 9, knownDown: true } }] },
  ],
  ["This Hubcap is degraded: the disk is full.", { degraded: "the disk is full" }],
])("begins with: %s", async (verdict, view) => {
  expect(await textOf("verdict", view)).toBe(verdict);
});

test.each<[string, Partial<Snapshot>, RegExp]>([
  [
    "when pulls run out",
    { remaining: 54, burnPerHour: 31, emptyAt: "2026-11-22T13:44:59Z" },
    /pace of 31 an hour, nothing is left at 13:44 UTC , in 1 h 45 min\./,
  ],
  [
    "when there are some again",
    { remaining: 0, state: "exhausted", nextFreeAt: "2026-11-22T12:00:35Z", fullAt: "2026-11-23T02:00:00Z" },
    /next pull is free at 12:00 UTC , in 35 s\. All 100 are back at 2026-11-23 02:00 UTC \./,
  ],
  ["that nothing is spent", { remaining: 100 }, /Nothing was spent in the last hour\./],
  [
    "that they last",
    { remaining: 90, burnPerHour: 2 },
    /pace of 2 an hour, it lasts for the next 6 h and on\./,
  ],
  [
    "a rehearsal",
    { remaining: 0, rehearsal: { mode: "empty", until: "2026-11-22T12:10:00Z" } },
    /rehearses that no pull is left, until 12:10 UTC/,
  ],
  ["what others spent", { remaining: 30, spentInWindow: 50 }, /By others 20 that Hubcap did not spend/],
])("says %s", async (_what, quota, sentence) => {
  expect(await textOf("quotas", upstreamsOf(quota))).toMatch(sentence);
});

function refusedOf(count: number): Partial<View> {
  return {
    spent: {
      clients: [],
      repositories: [],
      courses: new Map(),
      refused: new Map([["docker.io", { count, since: now - 6 * 3_600_000 }]]),
    },
  };
}

test("says whether a client was refused, and since when that is known", async () => {
  expect(await textOf("quotas", refusedOf(0))).toContain("No client was refused a pull since 06:00 UTC");
  expect(await textOf("quotas", refusedOf(1))).toContain(
    "1 request was refused for lack of pulls since 06:00 UTC",
  );
  expect(await textOf("quotas", refusedOf(1234))).toContain("1 234 requests were refused");
});

test("leaves out what cannot be read", async () => {
  const view = { spent: undefined, disk: { capacity: 0, held: undefined, oldestUse: undefined } };
  expect(await textOf("quotas", view)).toContain("cannot be read");
  expect(await textOf("disk", view)).toContain("What is held cannot be read now.");
});

test("shows how far a download is, also of unknown size", async () => {
  const fill = {
    digest: `sha256:${"ab".repeat(32)}` as Digest,
    repository: { upstream: "docker.io", name: "library/nginx" as RepositoryName },
    size: 4096,
    written: 1024,
    readers: 3,
    startedAt: now - 12_000,
  };
  const shown = [fill, { ...fill, size: undefined, readers: 1 }];
  expect(await textOf("fills", { fills: { shown, hidden: 0 } })).toMatch(
    /docker\.io\/library\/nginx sha256:abababababab 1\.0 KiB of 4\.0 KiB, 3 clients read it, for 12 s docker\.io\/library\/nginx sha256:\w+ 1\.0 KiB, 1 client reads it/,
  );
  const many = Array.from({ length: 14 }, () => fill);
  const text = await textOf("fills", { fills: { shown: many, hidden: 3 } });
  expect(text).toMatch(/And 2 more\. 3 downloads of private repositories\.$/);
  expect(await textOf("fills", { fills: { shown: [], hidden: 1 } })).toMatch(/1 download of private/);
});

test("takes nothing that it shows for markup", async () => {
  const evil = `"'><script>alert(1)</script><img src=x onerror=alert(1)>`;
  const row = { key: evil, spent: 1, refused: 1, lastAt: now };
  const parts = await partsOf(
    viewWith({
      upstreams: [{ quota: snapshotWith({ name: evil, account: evil, source: evil }), health: healthy }],
      spent: { clients: [row], repositories: [row], courses: new Map([[evil, []]]), refused: new Map() },
      fills: {
        shown: [
          {
            digest: evil as Digest,
            repository: { upstream: evil, name: evil as RepositoryName },
            size: 1,
            written: 0,
            readers: 1,
            startedAt: now,
          },
        ],
        hidden: 0,
      },
      failures: [{ at: now, count: 1, client: evil, image: evil, status: 502, reason: evil }],
      degraded: evil,
    }),
  );
  const page = [...parts.values()].join("");
  expect(page).not.toMatch(/<script|<img/);
  expect(page.match(/&lt;script&gt;/g)?.length).toBeGreaterThan(8);
  // No attribute was left by a quote of theirs.
  expect(page).not.toMatch(/"'>/);
});

test("has headings, captions and names for what is read aloud", async () => {
  const view = viewWith({
    fills: {
      shown: [
        {
          digest: `sha256:${"0".repeat(64)}` as Digest,
          repository: { upstream: "docker.io", name: "library/nginx" as RepositoryName },
          size: 2,
          written: 1,
          readers: 0,
          startedAt: now,
        },
      ],
      hidden: 1,
    },
  });
  view.history.count("hit", 1);
  const parts = await partsOf(view);
  const { verdict, ...sections } = Object.fromEntries(parts);
  expect(verdict).not.toContain("<");
  for (const html of Object.values(sections)) {
    expect(html).toMatch(/<h2>/);
    expect(html.match(/<table/g)?.length).toBe(html.match(/<caption/g)?.length);
    for (const [bar] of html.matchAll(/<(?:meter|progress|div class="plot")[^>]*>/g)) {
      expect(bar).toMatch(/aria-label="[^"]+"|aria-hidden="true"/);
    }
  }
});
