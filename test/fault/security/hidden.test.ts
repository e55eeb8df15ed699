/** What strangers learn of private repositories: nothing by what a guess costs, by the event stream or by the page. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { ask, openReply } from "../../support/ask.ts";
import { bearer, openAccessSetup, secrets, type AccessSetup } from "../../support/accessSetup.ts";
import { buildImage } from "../../support/images.ts";

const burst = 20;

let setup: AccessSetup;

beforeAll(async () => {
  setup = await openAccessSetup({
    limits: { misses: { burst, perMinute: 1 } },
    policy: { immutableTags: ["docker.io/private/own:*", "docker.io/public/app:*"] },
    freshness: { tagTtl: "0s" },
  });
  const { hub, image } = setup;
  for (let at = 0; at < burst * 2; at += 1) {
    hub.push(image, `private/app-${at}`, "1");
    hub.shelf.restrict(`private/app-${at}`, ["cluster"]);
  }
});
afterAll(() => setup.close());

function status(repository: string, headers: Record<string, string>): Promise<number> {
  return ask(`${setup.hubcap.url}/v2/${repository}/manifests/1`, { headers }).then(({ status }) => status);
}

/** A client that proves nothing: what it has proven would be the key of its limit, in all of these tests. */
const guesser = (node: string) => ({ "x-hubcap-node": node });

it.each(["private/app", "private/none"])(
  "lets a client guess %s-N as often as limits.misses says",
  async (name) => {
    const node = name.replace("/", "-");
    const statuses: number[] = [];
    for (let at = 0; at < burst * 2; at += 1) statuses.push(await status(`${name}-${at}`, guesser(node)));
    expect(statuses).toEqual([...Array(burst).fill(401), ...Array(burst).fill(429)]);
  },
);

it("requests as much for a hidden repository that an allowed client has just pulled as for a missing one", async () => {
  const asked = async (repository: string): Promise<string[]> => {
    setup.hub.counts.reset();
    expect(await status(repository, guesser(`of-${repository.replace("/", "-")}`))).toBe(401);
    return setup.hub.counts.requests.map(({ kind, status }) => `${kind} ${status}`);
  };
  expect(await status("private/app", bearer(secrets.ci))).toBe(200);
  // The probe beside that pull has ended once the next is answered.
  await expect
    .poll(() => setup.hub.counts.requests.filter(({ kind }) => kind === "token").length)
    .toBeGreaterThan(0);
  expect(await asked("private/app")).toEqual(await asked("private/missing"));
});

/** What the event stream has sent until `ended` finds what it looks for. */
async function events(token: string, cause: () => Promise<void>, last: string): Promise<string> {
  const reply = await openReply(`${setup.hubcap.statusUrl}/api/v1/quota/events`, { headers: bearer(token) });
  let text = "";
  reply.setEncoding("utf8").on("data", (more: string) => (text += more));
  await cause();
  await expect.poll(() => text).toContain(last);
  reply.destroy();
  return text;
}

it("tells of an immutable tag that has moved what it is only where all clients may pull", async () => {
  const allowed = bearer(secrets.ci);
  for (const repository of ["private/own", "public/app"]) expect(await status(repository, allowed)).toBe(200);
  const move = async (seed: string): Promise<string[]> => {
    const image = await buildImage({ seed });
    for (const repository of ["private/own", "public/app"]) {
      setup.hub.push(image, repository, "1");
      expect(await status(repository, allowed)).toBe(200);
    }
    return [image.root.digest, setup.image.root.digest];
  };
  const shown = await events(
    secrets.admin,
    async () => void (await move("moved once")),
    '"repository":"public/app"',
  );
  expect(shown).toContain('"repository":"private/own","tag":"1","first":"sha256:');
  const hidden = await events(
    secrets.other,
    async () => void (await move("moved twice")),
    '"repository":"public/app"',
  );
  expect(hidden).not.toContain("private/own");
  expect(hidden).toContain(
    '"repository":"(private)","tag":"(private)","first":"(private)","now":"(private)"}',
  );
});

it("shows of a download whose repository is private neither digest nor size", async () => {
  const { hub, hubcap } = setup;
  const image = await buildImage({ seed: "slow", layers: 1, layerBytes: 1_000_000 });
  const [layer] = image.platforms.get("linux/amd64")?.layers ?? [];
  const short = layer?.digest.slice(0, 19) ?? "";
  hub.push(image, "private/app", "slow");
  expect(
    (await ask(`${hubcap.url}/v2/private/app/manifests/slow`, { headers: bearer(secrets.ci) })).status,
  ).toBe(200);
  hub.fault({ kind: "drip", bytesPerSecond: 200_000, asks: "blob" });
  const reply = await openReply(`${hubcap.url}/v2/private/app/blobs/${layer?.digest}`, {
    headers: bearer(secrets.ci),
  });
  const page = async (): Promise<string> => (await ask(hubcap.statusUrl)).body.toString();
  await expect.poll(page).toContain("1 download of private repositories");
  const text = await page();
  expect(text).not.toContain(short);
  expect(text).not.toContain("Download of");
  reply.destroy();
  hub.faults.clear();
});
