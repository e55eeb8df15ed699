/** What every engine of the state keeps. */
import { expect, it } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import type { Repository, RepositoryName, Tag } from "../../src/oci/reference.ts";
import type { State } from "../../src/store/state.ts";

const here: Repository = { upstream: "docker.io", name: "library/nginx" as RepositoryName };
const there: Repository = { upstream: "ghcr.io", name: "library/nginx" as RepositoryName };
const [v1, v2] = ["v1", "v2"] as [Tag & string, Tag & string];
const [one, other] = ["one", "other"].map((text) => digestOf(Buffer.from(text))) as [
  ReturnType<typeof digestOf>,
  ReturnType<typeof digestOf>,
];

/** Runs the contract; `make` gives an empty State each time. */
export function stateContract(make: () => Promise<State>): void {
  it("keeps the first anchor of a tag, whatever comes later", async () => {
    const { anchors } = await make();
    expect(await anchors.of(here, v1)).toBeUndefined();
    expect(await Promise.all([anchors.keep(here, v1, one, 1), anchors.keep(here, v1, other, 2)])).toEqual([
      one,
      one,
    ]);
    expect(await anchors.of(here, v1)).toBe(one);
    expect(await anchors.of(there, v1)).toBeUndefined();
  });

  it("forgets the anchors of tags that may move again, and no others", async () => {
    const { anchors } = await make();
    for (const tag of [v1, v2]) await anchors.keep(here, tag, one, 1);
    await anchors.prune((_repository, tag) => tag === v2);
    expect([await anchors.of(here, v1), await anchors.of(here, v2)]).toEqual([undefined, one]);
  });

  it("knows when the first of some digests was first seen, and by which tags", async () => {
    const { sightings } = await make();
    await sightings.note(here, one, undefined, 70);
    await sightings.note(here, other, v1, 50);
    await sightings.note(here, other, v1, 10);
    expect(await sightings.since(here, [one])).toBe(70);
    expect(await sightings.since(here, [one, other])).toBe(50);
    expect(await sightings.tags(here, [one, other])).toEqual([v1]);
    expect(await sightings.since(there, [one, other])).toBeUndefined();
    expect(await sightings.since(here, [])).toBeUndefined();
  });

  it("replaces all pins of an owner at once, and touches no other", async () => {
    const { pins } = await make();
    await pins.add("docker.io/library/b", 1);
    await pins.add("docker.io/library/a", 1);
    await pins.replace("cluster", ["x", "y"], 1);
    await pins.replace("cluster", ["y", "z", "z"], 2);
    expect(await pins.owned("cluster")).toEqual(["y", "z"]);
    await pins.remove("docker.io/library/b");
    expect(await pins.all()).toEqual(["docker.io/library/a"]);
  });

  it("knows the visibility of a repository as it was seen last", async () => {
    const { visibilities } = await make();
    expect(await visibilities.of(here)).toBeUndefined();
    await visibilities.mark(here, { isPublic: true, checkedAt: 1 });
    await visibilities.mark(here, { isPublic: false, checkedAt: 2 });
    expect(await visibilities.of(here)).toEqual({ isPublic: false, checkedAt: 2 });
    expect(await visibilities.of(there)).toBeUndefined();
  });

  it("keeps jobs in the order in which they were made", async () => {
    const { warmJobs } = await make();
    await warmJobs.keep("b", 2, "second");
    await warmJobs.keep("a", 1, "first");
    await warmJobs.keep("b", 2, "second, later");
    expect(await warmJobs.all()).toEqual(["first", "second, later"]);
    await warmJobs.remove("a");
    expect(await warmJobs.all()).toEqual(["second, later"]);
  });

  it("is proven whole when it is new", async () => {
    const { proof } = await make();
    expect(await proof.unprovenSince()).toBeUndefined();
    await proof.confirm();
    expect(await proof.unprovenSince()).toBeUndefined();
  });
}
