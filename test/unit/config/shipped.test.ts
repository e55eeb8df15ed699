import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { describeConfiguration } from "../../../src/config/describe.ts";
import { certificate, dockerConfig, load } from "./configuration.ts";

const top = new URL("../../..", import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, top), "utf8");

test("the shipped configuration serves the usual public registries, anonymously", () => {
  const { upstreams, defaultUpstream } = load(read("config/hubcap.yaml"));
  expect(defaultUpstream).toBe("docker.io");
  expect(Object.keys(upstreams).toSorted()).toEqual([
    "docker.io",
    "gcr.io",
    "ghcr.io",
    "mcr.microsoft.com",
    "nvcr.io",
    "public.ecr.aws",
    "quay.io",
    "registry.gitlab.com",
    "registry.k8s.io",
  ]);
  expect(Object.values(upstreams).filter(({ credential }) => credential !== undefined)).toEqual([]);
});

test("what the shipped configuration says is what holds without it", () => {
  const { upstreams: _, ...shipped } = load(read("config/hubcap.yaml"));
  const { upstreams: __, ...bare } = load("");
  expect(shipped).toEqual(bare);
});

test.each(readdirSync(new URL("config/examples/", top)))("the example %s loads", (name) => {
  const config = load(withStandIns(read(`config/examples/${name}`)));
  expect(config.upstreams["docker.io"]).toBeDefined();
});

test.each([...describeConfiguration().keys()])(
  "%s is what the schema says; if not, `npm run docs` writes it",
  (path) => {
    expect(read(path)).toBe(describeConfiguration().get(path));
  },
);

/** The text with each file it names in /run/secrets or /etc/hubcap replaced by one that is there. */
function withStandIns(text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "hubcap-example-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  let count = 0;
  return text.replaceAll(/\/(?:run\/secrets|etc\/hubcap)\/[^\s\]]+/g, (path) => {
    const standIn = join(folder, `${count++}`);
    const contents = standInFor(path);
    mkdirSync(folder, { recursive: true });
    writeFileSync(standIn, contents);
    return standIn;
  });
}

function standInFor(path: string): string {
  if (path.endsWith(".pem")) return certificate;
  if (path.endsWith("json")) return dockerConfig("x", "ghcr.io");
  return path.endsWith(".pub") ? "-----BEGIN PUBLIC KEY-----" : "x";
}
