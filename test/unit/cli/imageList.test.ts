import { expect, test } from "vitest";
import { readImageList } from "../../../src/cli/imageList.ts";

test("comments and blank lines are left out, and the rest keeps its place", () => {
  const text = "\uFEFF# the shop\n\n nginx:1 \r\nghcr.io/org/app:v2 # our own\n\t# nothing\nb@sha256:1#2";
  expect(readImageList(text, "images.txt")).toEqual([
    { image: "nginx:1", place: "images.txt:3" },
    { image: "ghcr.io/org/app:v2", place: "images.txt:4" },
    { image: "b@sha256:1#2", place: "images.txt:6" },
  ]);
});
