/** The chart gives no pod the private images of an account, unless an operator says so. */
import { expect, it, onTestFinished } from "vitest";
import { parse } from "yaml";
import { ask } from "../../support/ask.ts";
import { openAccessSetup } from "../../support/accessSetup.ts";
import { withClient } from "../../support/clients.ts";
import { least, only, render, template, type Values } from "../../helm/chart.ts";
import { defaultValues, install, upgrade } from "../../helm/cluster.ts";

const credentials = { "docker.io": { existingSecret: "hub" } };
const withAccount: Values = { ...least, credentials };
const ecr = { "1.dkr.ecr.eu-west-1.amazonaws.com": { credential: { provider: "ecr" } } };
const open = { privateImages: "open" };
const networkPolicy = { enabled: true, registryFrom: [{ ipBlock: { cidr: "192.0.2.0/24" } }] };
const rules = [{ who: ["token:nodes"], repositories: ["**"], allow: "pull" }];
const nodePort = { registry: { service: { type: "NodePort" } } };

/** The access rules that Hubcap gets. */
async function accessOf(values: Values): Promise<unknown> {
  const { data } = only(await render(values), "ConfigMap");
  return (parse(data?.["hubcap.yaml"] ?? "") as { readonly access?: unknown }).access;
}

/** The access rules in what helm printed. */
function accessIn(printed: string): string | undefined {
  return /^ {4}access: ?(.*)$/m.exec(printed)?.[1];
}

withClient("helm", () => {
  it.each([
    ["closes private images where there is an account", withAccount, []],
    ["closes those of a cloud's identity", { ...least, config: { upstreams: ecr } }, []],
    ["does not take a network policy for a rule", { ...withAccount, networkPolicy }, []],
    ["leaves rules as they are", { ...withAccount, config: { access: rules } }, rules],
    [
      "leaves rules as they are, however private images are set",
      { ...withAccount, ...open, config: { access: [] } },
      [],
    ],
    ["opens private images where the operator says so", { ...withAccount, ...open }, undefined],
    ["has nothing to close without an account", least, undefined],
  ])("%s", async (_what, values: Values, access) => {
    expect(await accessOf(values)).toEqual(access);
  });

  it("serves public images to every client, and private ones to none, by default", async () => {
    const access = (await accessOf(withAccount)) as [];
    const setup = await openAccessSetup({ access, identities: {} });
    onTestFinished(() => setup.close());
    const status = async (name: string): Promise<number> =>
      (await ask(`${setup.hubcap.url}/v2/${name}/manifests/1`, { headers: { "x-hubcap-node": "worker-1" } }))
        .status;
    expect(await status("public/app")).toBe(200);
    // 404 sends containerd to the registry itself.
    expect(await status("private/app")).toBe(404);
  });

  it.each([
    [
      "closed",
      withAccount,
      /Private images of the accounts \(docker\.io\) are closed to all clients\. Nodes pull them from/,
    ],
    ["closed", withAccount, /To open them to nodes alone, see "Private images"/],
    [
      "closed and out of reach",
      { ...withAccount, ...nodePort, nodes: { enabled: true, fallback: false } },
      /Nodes cannot pull them at all: nodes\.fallback is false/,
    ],
    [
      "open",
      { ...withAccount, ...open },
      /WARNING: private images are open\.[^]*\(docker\.io\)[^]*To close it, remove/,
    ],
    ["ruled", { ...withAccount, config: { access: rules } }, /config\.access decides/],
  ])("says in the notes that private images are %s", async (_how, values: Values, notes) => {
    expect(await install(values)).toMatch(notes);
  });

  it("says nothing of private images where no account sees any", async () => {
    expect((await install(least)).split("NOTES:")[1]).not.toMatch(/private/i);
  });

  it.each([[[]], [["--reuse-values"]], [["--reset-then-reuse-values"]]])(
    "closes them in an upgrade from a chart that left them open, with the options %j, and says so",
    async (options) => {
      const { privateImages, ...before } = await defaultValues();
      expect(privateImages).toBe("closed");
      const printed = await upgrade(withAccount, before, ...options);
      expect(accessIn(printed)).toBe("[]");
      expect(printed).toContain("are closed to all clients");
      // With the operator's word they stay as they were.
      const kept = await upgrade({ ...withAccount, ...open }, before, ...options);
      expect(accessIn(kept)).toBeUndefined();
    },
  );

  it("changes nothing where closing them would keep Hubcap from starting", async () => {
    const workers = { config: { workers: 4 } };
    await expect(template({ ...withAccount, ...workers })).rejects.toThrow(
      /config\.workers cannot be combined with access rules[^]*set config\.workers to 1, or privateImages to open/,
    );
    expect(await accessOf({ ...withAccount, ...workers, ...open })).toBeUndefined();
    expect(await accessOf({ ...least, ...workers })).toBeUndefined();
  });
});
