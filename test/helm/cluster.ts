/** `helm install` and `helm upgrade` as an operator runs them, up to where a cluster would be changed. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { requireClient } from "../support/clients.ts";
import { run } from "../support/clients/process.ts";
import { chart, withFolder, type Values } from "./chart.ts";

function kinds(groupVersion: string, ...names: readonly string[]): object {
  const resources = names.map((kind) => ({
    kind,
    name: `${kind.toLowerCase()}s`,
    namespaced: true,
    verbs: [],
  }));
  return { kind: "APIResourceList", groupVersion, resources };
}

const apps = { groupVersion: "apps/v1", version: "v1" };
const group = { name: "apps", versions: [apps], preferredVersion: apps };

/** What helm asks of an API server before it changes anything. */
const replies: Readonly<Record<string, object>> = {
  "/version": { major: "1", minor: "30", gitVersion: "v1.30.0" },
  "/api": { kind: "APIVersions", versions: ["v1"] },
  "/apis": { kind: "APIGroupList", groups: [group] },
  "/api/v1": kinds("v1", "ConfigMap", "Secret", "Service", "ServiceAccount"),
  "/apis/apps/v1": kinds("apps/v1", "StatefulSet", "DaemonSet"),
};

/** What `helm install` prints: the manifests, and after them the notes. */
export function install(values: Values): Promise<string> {
  return helm(["install", "hubcap", chart], values);
}

/** What `helm upgrade` prints for a release that was installed with `values` by a chart with the default values `defaults`. */
export function upgrade(values: Values, defaults: Values, ...options: readonly string[]): Promise<string> {
  const metadata = { name: "hubcap", version: "0.1.0", apiVersion: "v2" };
  const release = {
    name: "hubcap",
    namespace: "default",
    version: 1,
    manifest: "",
    info: { status: "deployed" },
    chart: { metadata, values: defaults },
    config: values,
  };
  return helm(["upgrade", "hubcap", chart, ...options], {}, release);
}

/** The default values of the chart. */
export async function defaultValues(): Promise<Record<string, unknown>> {
  return parse(await readFile(join(chart, "values.yaml"), "utf8")) as Record<string, unknown>;
}

function helm(parameters: readonly string[], values: Values, release?: object): Promise<string> {
  return withFolder(async (folder) => {
    const server = createServer(({ url = "" }, response) => {
      const reply = replies[new URL(url, "http://cluster").pathname];
      response.writeHead(reply ? 200 : 404, { "content-type": "application/json" });
      response.end(JSON.stringify(reply ?? { kind: "Status", code: 404, reason: "NotFound" }));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      const { port } = server.address() as AddressInfo;
      const file = join(folder, "values.yaml");
      await writeFile(file, stringify(values));
      await writeFile(join(folder, "releases.yaml"), stringify(release ? [release] : []));
      const env = {
        ...process.env,
        HOME: folder,
        HELM_DRIVER: "memory",
        HELM_MEMORY_DRIVER_DATA: join(folder, "releases.yaml"),
      };
      const dry = ["--dry-run=client", "--disable-openapi-validation", "--namespace=default"];
      const cluster = ["--kube-apiserver", `http://127.0.0.1:${port}`, "--values", file];
      return await run(requireClient("helm").path, [...parameters, ...dry, ...cluster], env);
    } finally {
      server.close();
    }
  });
}
