/** An upstream that answers no HEAD of a manifest, or answers it with something else: it is asked by GET, and not believed. */
import { afterEach, describe, expect, test } from "vitest";
import type { Fault } from "../../support/faults.ts";
import { openSetup, type Setup } from "../../support/setup.ts";

let setup: Setup | undefined;

afterEach(() => setup?.close());

const heads = { asks: "manifest", method: "HEAD" } as const;
const ways: readonly (readonly [what: string, fault: Fault])[] = [
  ["405", { ...heads, kind: "status", status: 405 }],
  ["501", { ...heads, kind: "status", status: 501 }],
  ["a page", { ...heads, kind: "headers", set: { "content-type": "text/html" } }],
];

describe.each(ways)("HEADs of manifests are answered with %s", (_, fault) => {
  test("a tag is pulled all the same, and a client's HEAD is answered in full", async () => {
    setup = await openSetup({ hub: { auth: "none" } });
    const { image } = await setup.push("library/app");
    setup.hub.fault(fault);
    const head = await setup.manifest("library/app", "1", { method: "HEAD" });
    expect(head.status).toBe(200);
    expect(head.headers["docker-content-digest"]).toBe(image.root.digest);
    expect(head.headers["content-type"]).toBe(image.root.mediaType);
    expect((await setup.manifest("library/app", "1")).status).toBe(200);
  });

  test("a repository is not given another's manifest unless its upstream sends it", async () => {
    setup = await openSetup();
    const { image } = await setup.push("team/secret");
    await setup.push("team/other");
    setup.hub.push(image, "team/shared", "1");
    expect((await setup.manifest("team/secret", image.root.digest)).status).toBe(200);
    setup.hub.fault(fault);
    setup.hub.fault({ ...heads, kind: "status", status: 405, repository: "team/other" });
    expect((await setup.manifest("team/other", image.root.digest)).status).toBe(404);
    expect((await setup.manifest("team/shared", image.root.digest)).status).toBe(200);
  });
});
