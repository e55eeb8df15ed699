/** What a cluster uses is held and pinned, by the command and by the server, and stays so when the Kubernetes API fails. */
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { Hubcap } from "../support/hubcap.ts";
import { buildImage } from "../support/images.ts";
import { startKubernetes, type Kubernetes } from "../support/kubernetes.ts";
import { runHubcap } from "../support/run.ts";
import { folder, openWarmSetup, tokenFile } from "../support/warm.ts";

const kubeconfig = join(folder, "kubeconfig");

async function cluster(): Promise<Kubernetes> {
  const kubernetes = await startKubernetes();
  onTestFinished(() => kubernetes.stop());
  kubernetes.writeConfig(kubeconfig);
  return kubernetes;
}

/** Runs `hubcap warm --from-cluster` to its end; what it says on standard error, by lines. */
async function warm(hubcap: Hubcap, ...args: readonly string[]) {
  const own = ["--status", hubcap.statusUrl, "--token-file", tokenFile, "--kubeconfig", kubeconfig];
  const { code, output, errors } = await runHubcap(["warm", "--from-cluster", ...own, ...args]);
  return { code, output, errors: errors.trimEnd().split("\n") };
}

async function pins(hubcap: Hubcap): Promise<string[]> {
  const { pins } = (await hubcap.status("/api/v1/cache/pins")) as {
    pins: { image: string; origin: string }[];
  };
  return pins.map(({ image, origin }) => `${origin} ${image}`).toSorted();
}

test("the command fetches and pins what pods use, and lets go of what none uses any more", async () => {
  const { hub, hubcap, image } = await openWarmSetup({}, { storage: { pins: ["docker.io/library/base"] } });
  hub.push(await buildImage({ seed: "b" }), "library/b", "1");
  const kubernetes = await cluster();
  const web = `docker.io/library/web@${image.root.digest}`;
  kubernetes.run(
    { namespace: "shop", containers: [{ image: "web:1", imageID: web }, { image: "registry.example/x:1" }] },
    { namespace: "bank", phase: "Pending", containers: [{ image: "library/b:1", kind: "init" }] },
  );
  const first = await warm(hubcap);
  expect([first.code, first.output]).toEqual([0, "2 of 2 images are held\n"]);
  expect(first.errors).toContain("the cluster uses 2 images of the upstreams that are served");
  expect(first.errors).toContain("left out, as their registries are not served: registry.example/x:1");
  const both = ["cluster docker.io/library/b:1", `cluster ${web}`, "configuration docker.io/library/base"];
  expect(await pins(hubcap)).toEqual(both);
  expect(await hubcap.status("/api/v1/cache/images")).toMatchObject({
    images: [{ pinned: true }, { pinned: true }],
  });

  kubernetes.forbidden.add("*");
  const refused = await warm(hubcap);
  expect(refused).toMatchObject({ code: 1, errors: [expect.stringMatching(/grant the verb list on pods$/)] });
  expect(await pins(hubcap)).toEqual(both);
  await hubcap.restart();
  expect(await pins(hubcap)).toEqual(both);

  kubernetes.run({ namespace: "shop", containers: [{ image: "web:1", imageID: web }] });
  expect((await warm(hubcap, "-n", "shop")).code).toBe(0);
  expect(await pins(hubcap)).toEqual([`cluster ${web}`, "configuration docker.io/library/base"]);
});

test("the server follows the cluster by itself, and one failed list lets go of nothing", async () => {
  const kubernetes = await cluster();
  kubernetes.run({ containers: [{ image: "web:1" }] });
  const { hub, hubcap } = await openWarmSetup(
    {},
    { warm: { fromCluster: { enabled: true, every: "5s", kubeconfig } } },
  );
  hub.push(await buildImage({ seed: "b" }), "library/b", "1");
  await hubcap.logged(({ msg, origin }) => msg === "warmed" && origin === "cluster");
  expect(await pins(hubcap)).toEqual(["cluster docker.io/library/web:1"]);
  expect(hub.spent()).toBe(2);

  kubernetes.faults.push(500);
  const { reason } = await hubcap.logged(({ msg }) =>
    String(msg).startsWith("what the cluster uses cannot be listed"),
  );
  expect(reason).toMatch(/answered 500/);
  expect(await pins(hubcap)).toEqual(["cluster docker.io/library/web:1"]);
  expect(await hubcap.metric("hubcap_cluster_lists_total", { result: "failed" })).toBe(1);

  kubernetes.run({ containers: [{ image: "b:1" }] });
  await expect.poll(() => pins(hubcap)).toEqual(["cluster docker.io/library/b:1"]);
  // Only the last look at the cluster is remembered.
  await expect
    .poll(() => hubcap.status("/api/v1/warm"))
    .toMatchObject({
      jobs: [{ origin: "cluster", state: "done", held: 1, totalBytes: expect.any(Number) as number }],
    });
});
