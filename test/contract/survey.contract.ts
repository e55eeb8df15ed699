/** What every implementation of Survey must do. */
import { expect, it } from "vitest";
import { ociManifest } from "../../src/oci/descriptor.ts";
import { digestOf } from "../../src/oci/digest.ts";
import type { Catalog, Survey } from "../../src/store/catalog.ts";

const digests = ["a", "b", "c"].map((text) => digestOf(Buffer.from(text))).toSorted();
const [first = never(), second = never(), third = never()] = digests;

function never(): never {
  throw new Error("unreachable");
}

/** Runs the contract; `make` gives an empty catalog and the survey of it. */
export function surveyContract(make: () => Promise<{ catalog: Catalog; survey: Survey }>): void {
  it("goes through the blobs page by page", async () => {
    const { catalog, survey } = await make();
    expect(await survey.page("", 2)).toEqual([]);
    for (const digest of [third, first, second]) await catalog.adopt(digest, 7);
    expect((await survey.page("", 2)).map(({ digest }) => digest)).toEqual([first, second]);
    expect(await survey.page(second, 2)).toEqual([{ digest: third, size: 7 }]);
    expect(await survey.page(third, 2)).toEqual([]);
  });

  it("finds what is held though there is no blob", async () => {
    const { catalog, survey } = await make();
    await catalog.adopt(first, 7, { mediaType: ociManifest, names: [second] });
    expect(await survey.dangling()).toEqual([]);
    await catalog.link({ upstream: "docker.io", name: "library/nginx" as never }, third);
    expect(await survey.dangling()).toEqual([third]);
    await catalog.forget(third);
    expect(await survey.dangling()).toEqual([]);
  });

  it("remembers how far the scrub has come", async () => {
    const { survey } = await make();
    expect(await survey.scrubMark()).toBeUndefined();
    await survey.markScrub({ reached: first, beganAt: 1 });
    await survey.markScrub({ reached: second, beganAt: 2 });
    expect(await survey.scrubMark()).toEqual({ reached: second, beganAt: 2 });
  });
}
