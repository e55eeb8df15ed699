/** The chart: what it makes is what Kubernetes takes, what restricted Pod Security allows, and what Hubcap itself can read. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { loadConfig, type Config } from "../../src/config/load.ts";
import { isPrivateAddress } from "../../src/upstream/net/address.ts";
import { readDockerLogin } from "../../src/upstream/auth/dockerConfig.ts";
import { knownRegistry } from "../../src/upstream/presets.ts";
import { makeAuthority } from "../support/certificates.ts";
import { withClient } from "../support/clients.ts";
import { least, lint, only, render, template, validate, withFolder, type Manifest } from "./chart.ts";
import { setups } from "./setups.ts";

const authority = makeAuthority();
const { key, cert } = authority.issue({ names: ["hubcap"] });
const dockerConfig = JSON.stringify({
  auths: {
    "https://index.docker.io/v1/": { auth: Buffer.from("cluster:s3cret").toString("base64") },
    "harbor.example:8443": { auth: Buffer.from("cluster:s3cret").toString("base64") },
  },
});
const tls = { "tls.crt": cert, "tls.key": key, "ca.crt": authority.cert };

/** The secrets that operators bring. */
const brought: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  hub: { ".dockerconfigjson": dockerConfig },
  harbor: { ".dockerconfigjson": dockerConfig },
  ghcr: { token: "s3cret" },
  "nodes-token": { token: "s3cret" },
  admin: { token: "s3cret" },
  tls,
  "tls-status": tls,
  "hubcap-tls": tls,
  "nodes-ca": { "ca.crt": authority.cert },
  "people-ca": { "ca.crt": authority.cert },
};

interface Mounts {
  readonly volumes: readonly {
    readonly name: string;
    readonly secret?: {
      readonly secretName: string;
      readonly items?: readonly { readonly key: string; readonly path: string }[];
    };
  }[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

/** The configuration as Hubcap reads it in the pod, with every secret where kubelet puts it. */
function configurationOf(manifests: readonly Manifest[]): Promise<Config> {
  return withFolder((root) => readIn(root, manifests));
}

async function readIn(root: string, manifests: readonly Manifest[]): Promise<Config> {
  const pod = only(manifests, "StatefulSet").spec.template.spec;
  const made = manifests.filter(({ kind }) => kind === "Secret");
  const secrets = { ...brought };
  for (const { metadata, data = {} } of made) {
    const entries = Object.entries(data).map(([name, text]) => [
      name,
      Buffer.from(text, "base64").toString(),
    ]);
    secrets[metadata.name] = Object.fromEntries(entries) as Record<string, string>;
  }
  const { volumes, volumeMounts }: Mounts = { ...pod, ...pod.containers[0] };
  for (const { name, mountPath } of volumeMounts) {
    const secret = volumes.find((volume) => volume.name === name)?.secret;
    if (secret === undefined) continue;
    const there = secrets[secret.secretName];
    if (there === undefined) throw new Error(`there is no secret ${secret.secretName}`);
    for (const { key: from, path } of secret.items ??
      Object.keys(there).map((one) => ({ key: one, path: one }))) {
      const file = join(root, mountPath, path);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, there[from] ?? "");
    }
  }
  const text = only(manifests, "ConfigMap", /^(?!.*-dashboard$)/).data?.["hubcap.yaml"] ?? "";
  const file = join(root, "hubcap.yaml");
  await writeFile(file, text.replaceAll("/run/secrets/", `${root}/run/secrets/`));
  const env = Object.fromEntries(
    (pod.containers[0].env ?? []).map(({ name, value }: { name: string; value: string }) => [name, value]),
  );
  return loadConfig({ file, env, knownRegistry, isPrivateAddress, readDockerLogin });
}

/** Whether a selector fits a pod's labels. */
function fits(selector: object, labels: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector).every(([name, value]) => labels[name] === value);
}

/** Who may do something, and where. */
function bindings(manifests: readonly Manifest[]): string[] {
  return manifests
    .filter(({ kind }) => kind.endsWith("Binding"))
    .map(({ kind, metadata: { namespace = "everywhere" }, subjects: [subject] }) =>
      [kind, namespace, subject.namespace, subject.name].join(" "),
    );
}

withClient("helm", () => {
  it("passes lint without a warning, with and without the values that it requires", async () => {
    expect(await lint(least)).toContain("0 chart(s) failed");
    expect(await lint({ ...setups["every other setting"], ...setups["monitoring"] })).toContain(
      "0 chart(s) failed",
    );
  });

  it("runs the image of its own release", async () => {
    const { version } = JSON.parse(await readFile("package.json", "utf8")) as { version: string };
    const [container] = only(await render(least), "StatefulSet").spec.template.spec.containers;
    expect(container.image).toBe(`registry.example/hubcap:${version}`);
  });

  describe.each(Object.entries(setups))("%s", (_name, values) => {
    let manifests: Manifest[];

    beforeAll(async () => {
      manifests = await render(values);
    });

    it("is what Hubcap reads", async () => {
      const config = await configurationOf(manifests);
      expect(config.registry.listen).toEqual({ host: "0.0.0.0", port: 5000 });
      expect(config.status.listen).toEqual({ host: "0.0.0.0", port: 5001 });
      expect(config.storage.root).toBe("/var/lib/hubcap");
      const wanted = Object.keys(values["credentials"] ?? {});
      const had = Object.entries(config.upstreams).filter(([, { credential }]) => credential !== undefined);
      expect(had.map(([host]) => host).toSorted()).toEqual(wanted.toSorted());
    });

    it("keeps to restricted Pod Security, but for the node agent's hostPath and user", () => {
      const { containers, volumes = [], ...pod } = only(manifests, "StatefulSet").spec.template.spec;
      expect(pod.securityContext).toMatchObject({
        runAsNonRoot: true,
        seccompProfile: { type: "RuntimeDefault" },
      });
      expect(pod).not.toHaveProperty("hostNetwork");
      expect(volumes.filter((volume: object) => "hostPath" in volume)).toEqual([]);
      const agents = manifests.filter(({ kind }) => kind === "DaemonSet");
      const all = [...containers, ...agents.flatMap(({ spec }) => spec.template.spec.containers)];
      for (const { securityContext } of all) {
        expect(securityContext).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ["ALL"] },
        });
      }
    });

    it("gives kubelet longer than Hubcap takes to drain", async () => {
      const { terminationGracePeriodSeconds: seconds, containers } = only(manifests, "StatefulSet").spec
        .template.spec;
      const { grace } = (await configurationOf(manifests)).shutdown;
      const { preStop } = containers[0].lifecycle;
      expect(seconds).toBeGreaterThanOrEqual(preStop.sleep.seconds + grace / 1000 + 5);
      expect(seconds).toBeLessThan(preStop.sleep.seconds + grace / 1000 + 20);
    });

    it("is one pod, which an update replaces even where it never became ready", () => {
      const { replicas, podManagementPolicy, updateStrategy } = only(manifests, "StatefulSet").spec;
      expect([replicas, podManagementPolicy, updateStrategy.type]).toEqual([1, "Parallel", "RollingUpdate"]);
    });

    it("selects the pod by its Services, and nothing else", () => {
      const { metadata } = only(manifests, "StatefulSet").spec.template;
      const agents = manifests.filter(({ kind }) => kind === "DaemonSet");
      for (const { spec } of manifests.filter(({ kind }) => kind === "Service")) {
        expect(fits(spec.selector, metadata.labels)).toBe(true);
        for (const agent of agents)
          expect(fits(spec.selector, agent.spec.template.metadata.labels)).toBe(false);
        const ports = only(manifests, "StatefulSet").spec.template.spec.containers[0].ports;
        expect(ports.map(({ name }: { name: string }) => name)).toContain(spec.ports[0].targetPort);
      }
    });
  });

  it("names everything after the release, also one with a long name", async () => {
    const manifests = await render(
      { ...setups["monitoring"], ...setups["nodes by NodePort"] },
      "x".repeat(53),
    );
    const names = manifests.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    expect(new Set(names).size).toBe(names.length);
    expect(manifests.map(({ metadata }) => metadata.name.length).filter((length) => length > 63)).toEqual([]);
  });

  it("lets pods be listed only where the values say so", async () => {
    const warm = { fromCluster: { enabled: true, namespaces: ["shop", "blog"] } };
    const some = await render({ ...least, rbac: { listPods: true }, config: { warm } });
    const all = await render({ ...least, rbac: { listPods: true } });
    const none = await render(least);
    expect(bindings(some)).toEqual(["RoleBinding shop registry hubcap", "RoleBinding blog registry hubcap"]);
    expect(only(some, "StatefulSet").spec.template.spec.automountServiceAccountToken).toBe(true);
    expect(bindings(all)).toEqual(["ClusterRoleBinding everywhere registry hubcap"]);
    expect(bindings(none)).toEqual([]);
    expect(only(none, "StatefulSet").spec.template.spec.automountServiceAccountToken).toBe(false);
  });

  it.each([
    [{}, "image.repository is needed"],
    [
      { ...least, config: { storage: { capacity: "50G" } } },
      /config\/storage\/capacity.*50G.*does not match pattern/,
    ],
    [
      { ...least, config: { storage: { capacity: "61GiB" } } },
      "config.storage.capacity 61GiB is more than persistence.size 60Gi: leave a tenth of the volume free",
    ],
    [
      { ...least, persistence: { enabled: false, size: "53G" } },
      "config.storage.capacity 50GiB is more than persistence.size 53G",
    ],
    [
      { ...least, config: { storage: { capasity: "50GiB" } } },
      /config\/storage.*additional properties 'capasity' not allowed/,
    ],
    [
      { ...least, config: { storage: { root: "/data" } } },
      /config\/storage.*additional properties 'root' not allowed/,
    ],
    [
      { ...least, config: { upstreams: { "docker.io": { credential: { username: "a", password: "b" } } } } },
      /additional properties 'password' not allowed/,
    ],
    [{ ...least, config: { upstreams: { "Docker.io": {} } } }, /Docker\.io/],
    [{ ...least, replicas: 2 }, /additional properties 'replicas' not allowed/],
    [
      { ...least, registry: { service: { type: "Nodeport" } } },
      /registry\/service\/type.*value must be one of/,
    ],
    [
      { ...least, credentials: { "docker.io": { username: "a" } } },
      "credentials.docker.io needs existingSecret, or username and password",
    ],
    [
      { ...least, credentials: { "docker.com": { existingSecret: "a" } } },
      "credentials.docker.com is for a host that is not in config.upstreams",
    ],
    [
      { ...least, tls: { registry: { enabled: true } } },
      "tls.registry.enabled needs tls.registry.existingSecret, or certManager.enabled",
    ],
    [
      { ...least, config: { warm: { fromCluster: { enabled: true } } } },
      "config.warm.fromCluster.enabled needs rbac.listPods",
    ],
    [{ ...least, certManager: { enabled: true } }, "certManager.issuerRef.name is needed"],
    [
      { ...least, nodes: { enabled: true } },
      "nodes.enabled needs registry.service.type NodePort, or nodes.mirror",
    ],
    [
      {
        ...least,
        registry: { service: { type: "NodePort" } },
        tls: { registry: { enabled: true, existingSecret: "tls" } },
        nodes: { enabled: true },
      },
      "nodes.enabled with tls.registry needs nodes.mirror",
    ],
  ])("refuses %j and says why", async (values, why) => {
    await expect(template(values)).rejects.toThrow(why);
  });
});

withClient("kubectl-validate", () => {
  it.each(Object.entries(setups))("is what Kubernetes takes: %s", async (_name, values) => {
    await validate(await template(values));
  });

  it("would not take a field that it does not know", async () => {
    const wrong = (await template(least)).replace("replicas: 1", "replicaz: 1");
    await expect(validate(wrong)).rejects.toThrow("replicaz");
  });
});
