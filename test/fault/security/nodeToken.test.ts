/** A node's token is a password: it is written only where the way to Hubcap is encrypted, or is this machine. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { least, template } from "../../helm/chart.ts";
import { withClient } from "../../support/clients.ts";
import { runHubcap } from "../../support/run.ts";

const token = "t0ken-of-nodes";

async function clientConfig(runtime: string, mirror: string) {
  const folder = mkdtempSync(join(tmpdir(), "hubcap-node-token-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "token");
  writeFileSync(file, token);
  const args = ["client-config", runtime, "--mirror", mirror, "--token-file", file, "--write", folder];
  const { code, output, errors } = await runHubcap(args);
  return { code, said: output + errors, written: readdirSync(folder).filter((name) => name !== "token") };
}

it.each(["containerd", "k3s", "talos"])(
  "refuses to write one for %s and http, and says why",
  async (runtime) => {
    const { code, said, written } = await clientConfig(runtime, "http://hubcap.example:5000");
    expect(code).toBe(2);
    expect(said).toContain("--token-file needs a --mirror with https://");
    expect(said).toContain("docs/security.md");
    expect(said).not.toContain(token);
    expect(written).toEqual([]);
  },
);

it.each([
  "https://hubcap.example:5000",
  "http://127.0.0.1:5000",
  "http://[::1]:5000",
  "http://localhost:5000",
])("writes one for %s", async (mirror) => {
  const { code, written } = await clientConfig("containerd", mirror);
  expect(code).toBe(0);
  expect(written).toContain("docker.io");
});

withClient("helm", () => {
  it.each([
    ["the nodes' own addresses", { registry: { service: { type: "NodePort" } } }, ""],
    ["an address with http", {}, "http://hubcap.example:5000"],
  ])("refuses one in the chart for %s", async (_what, values, mirror) => {
    const nodes = { enabled: true, mirror, tokenSecret: "token" };
    await expect(template({ ...least, ...values, nodes })).rejects.toThrow(
      "nodes.tokenSecret needs nodes.mirror with https://",
    );
  });
});
