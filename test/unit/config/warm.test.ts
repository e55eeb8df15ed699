/** The section `warm`: what is understood, and what is refused before anything is served. */
import { expect, test } from "vitest";
import { issuesOf, load } from "./configuration.ts";

test("a list is read with its schedule, time zone and platforms", () => {
  const { warm } = load(`
warm:
  lists:
    - images: [docker.io/library/nginx:1.29, redis]
      platforms: [linux/amd64, linux/arm64]
      schedule: "30 3 * * mon-fri"
      timeZone: Europe/Berlin
      pin: true
`);
  expect(warm.lists).toEqual([
    {
      images: ["docker.io/library/nginx:1.29", "redis"],
      platforms: [
        { os: "linux", architecture: "amd64" },
        { os: "linux", architecture: "arm64" },
      ],
      schedule: "30 3 * * mon-fri",
      timeZone: "Europe/Berlin",
      onStart: false,
      pin: true,
    },
  ]);
  expect(warm.platforms).toEqual([{ os: "linux", architecture: "amd64" }]);
  expect(warm.fromCluster).toEqual({ enabled: false, every: 300_000, namespaces: [] });
});

test.each(["nightly", "61 3 * * *", "30 3 * *", "0 30 3 * * *", "0 0 31 2 *", "@reboot", " "])(
  "%j is refused as a schedule, with its place and what was expected",
  (schedule) => {
    const issues = issuesOf(`warm: { lists: [{ images: [nginx], schedule: ${JSON.stringify(schedule)} }] }`);
    expect(issues).toMatchObject([
      { path: "warm.lists.0.schedule", expected: expect.stringMatching(/^a cron expression of five parts/) },
    ]);
  },
);

test("everything else that is wrong is reported at once", () => {
  const issues = issuesOf(`
upstreams: { docker.io: {} }
warm:
  platforms: [amd64]
  fromCluster: { every: 1s, namespaces: [Shop] }
`);
  expect(issues.map(({ path }) => path)).toEqual([
    "warm.platforms.0",
    "warm.fromCluster.every",
    "warm.fromCluster.namespaces.0",
  ]);
  const lists = issuesOf(`
upstreams: { docker.io: {} }
warm:
  lists:
    - { images: [nginx] }
    - { images: ["nginx:", ghcr.io/a/b], onStart: true }
`);
  expect(lists).toMatchObject([
    { path: "warm.lists.0", expected: "schedule, onStart: true or pin: true beside images" },
    { path: "warm.lists.1.images.0", expected: expect.stringMatching(/is not a tag/) },
    { path: "warm.lists.1.images.1", expected: expect.stringMatching(/"ghcr\.io" is not served here/) },
  ]);
  expect(
    issuesOf("warm: { lists: [{ images: [nginx], onStart: true, timeZone: Mars/Olympus }] }"),
  ).toMatchObject([{ path: "warm.lists.0.timeZone", expected: "a time zone such as UTC or Europe/Berlin" }]);
});
