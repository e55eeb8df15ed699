/** Listing what pods use, with the official client against a stand-in: whole lists or an error, never a part. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ClusterError } from "../../../src/cluster/clusterError.ts";
import { listUsedImages } from "../../../src/cluster/pods.ts";
import { startKubernetes, type Kubernetes } from "../../support/kubernetes.ts";

const file = join(mkdtempSync(join(tmpdir(), "hubcap-kube-")), "config");
let kubernetes: Kubernetes;

beforeEach(async () => {
  kubernetes = await startKubernetes();
  kubernetes.writeConfig(file);
});
afterEach(() => kubernetes.stop());

function list(more: Partial<Parameters<typeof listUsedImages>[0]> = {}) {
  return listUsedImages({ kubeconfig: file, namespaces: [], patienceMs: 5_000, ...more });
}

function refusal(more: Parameters<typeof list>[0] = {}): Promise<string> {
  return list(more).then(
    () => "it was listed",
    (error: unknown) => {
      expect(error).toBeInstanceOf(ClusterError);
      return (error as Error).message;
    },
  );
}

test("all containers count, of pods that run or are about to", async () => {
  kubernetes.run(
    {
      containers: [
        { image: "nginx:1", imageID: "docker.io/library/nginx@sha256:1" },
        { image: "init:1", kind: "init" },
        { image: "debug:1", kind: "ephemeral" },
      ],
    },
    { phase: "Pending", containers: [{ image: "soon:1" }] },
    { phase: "Succeeded", containers: [{ image: "done:1" }] },
    { phase: "Failed", containers: [{ image: "broken:1" }] },
  );
  expect(await list()).toEqual([
    { image: "nginx:1", imageId: "docker.io/library/nginx@sha256:1" },
    { image: "init:1", imageId: undefined },
    { image: "debug:1", imageId: undefined },
    { image: "soon:1", imageId: undefined },
  ]);
});

const many = Array.from({ length: 1201 }, (_, number) => ({ containers: [{ image: `app:${number}` }] }));

test("a long list is read page by page, to its end", async () => {
  kubernetes.run(...many);
  expect(new Set((await list()).map(({ image }) => image)).size).toBe(1201);
  expect(kubernetes.asked.map(({ query }) => query.get("limit"))).toEqual(["500", "500", "500"]);
});

test("only the namespaces that are named are asked for", async () => {
  kubernetes.run(
    { namespace: "shop", containers: [{ image: "shop:1" }] },
    { namespace: "bank", containers: [{ image: "bank:1" }] },
    { namespace: "kube-system", containers: [{ image: "pause:1" }] },
  );
  kubernetes.forbidden.add("*");
  const used = await list({ namespaces: ["shop", "bank"] });
  expect(used.map(({ image }) => image)).toEqual(["shop:1", "bank:1"]);
});

test("a list that the API forgot half-way is begun again, and one that it always forgets fails", async () => {
  kubernetes.run(...many);
  kubernetes.pagesUntilExpiry = 2;
  expect(await refusal()).toMatch(/answered 410 when asked for the pods of all namespaces$/);
  expect(kubernetes.asked).toHaveLength(9);
  kubernetes.pagesUntilExpiry = Number.POSITIVE_INFINITY;
  kubernetes.faults.push("none", "none", 410);
  expect(await list()).toHaveLength(1201);
});

test("whatever goes wrong is one sentence that says what to do", async () => {
  kubernetes.run({ namespace: "shop", containers: [{ image: "nginx:1" }] });
  kubernetes.faults.push(500);
  expect(await refusal()).toBe(`${kubernetes.url} answered 500 when asked for the pods of all namespaces`);
  kubernetes.faults.push("hang");
  expect(await refusal({ patienceMs: 100 })).toBe(
    `${kubernetes.url} did not list the pods of all namespaces within 0.1 s`,
  );
  kubernetes.forbidden.add("bank");
  expect(await refusal({ namespaces: ["shop", "bank"] })).toBe(
    `${kubernetes.url} does not allow listing pods in namespace bank: grant the verb list on pods`,
  );
  kubernetes.writeConfig(file, "another token");
  expect(await refusal()).toMatch(/does not accept the credential/);
  const url = kubernetes.url;
  await kubernetes.stop();
  expect(await refusal()).toMatch(`${url} cannot be asked for pods: `);
  expect(await refusal({ kubeconfig: "/does/not/exist" })).toMatch(/^the kubeconfig cannot be used: /);
});

test("an API without TLS is asked where the kubeconfig says so", async () => {
  const plain = await startKubernetes("http");
  plain.run({ containers: [{ image: "nginx:1" }] });
  try {
    expect(await list({ kubeconfig: plain.writeConfig(file) })).toHaveLength(1);
  } finally {
    await plain.stop();
  }
});
