/** An upstream that answers no HEAD of a manifest, or answers it with something else: it is asked by GET, and not believed. */
import { afterEach, describe, expect, test } from "vitest";
import type { Fault } from "../../support/faults.ts";
import { openHouse, type House } from "../../support/setup.ts";

let house: House | undefined;

afterEach(() => house?.close());

const heads = { asks: "manifest", method: "HEAD" } as const;
const ways: readonly (readonly [what: string, fault: Fault])[] = [
  ["405", { ...heads, kind: "status", status: 405 }],
  ["501", { ...heads, kind: "status", status: 501 }],
  ["a page", { ...heads, kind: "headers", set: { "content-type": "text/html" } }],
];

describe.each(ways)("HEADs of manifests are answered with %s", (_, fault) => {
  test("a tag is pulled all the same, and a client's HEAD is answered in full", async () => {
    house = await openHouse({ hub: { auth: "none" } });
    const { image } = await house.push("library/app");
    house.hub.fault(fault);
    const head = await house.manifest("library/app", "1", { method: "HEAD" });
    expect(head.status).toBe(200);
    expect(head.headers["docker-content-digest"]).toBe(image.root.digest);
    expect(head.headers["content-type"]).toBe(image.root.mediaType);
    expect((await house.manifest("library/app", "1")).status).toBe(200);
  });

  test("a repository is not given another's manifest unless its upstream sends it", async () => {
    house = await openHouse();
    const { image } = await house.push("team/secret");
    await house.push("team/other");
    house.hub.push(image, "team/shared", "1");
    expect((await house.manifest("team/secret", image.root.digest)).status).toBe(200);
    house.hub.fault(fault);
    house.hub.fault({ ...heads, kind: "status", status: 405, repository: "team/other" });
    expect((await house.manifest("team/other", image.root.digest)).status).toBe(404);
    expect((await house.manifest("team/shared", image.root.digest)).status).toBe(200);
  });
});
