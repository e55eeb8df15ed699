/** Lists of tags come in pages: real programs follow them to the end. */
import { beforeAll, expect, it } from "vitest";
import { withClient, type ClientName } from "../support/clients.ts";
import { run, sealed } from "../support/clients/process.ts";
import { buildImage } from "../support/images.ts";
import { emptyFolder, openSetup, type Setup } from "./cluster.ts";

let setup: Setup;
const tags = Array.from({ length: 2500 }, (_, number) => `1.0.${number}`);

beforeAll(async () => {
  setup = await openSetup();
  const image = await buildImage({ seed: "tags", layerBytes: 10 });
  for (const tag of tags) setup.hub.push(image, "library/many", tag);
  return () => setup.close();
});

const programs: readonly [ClientName, (repository: string) => string[], (printed: string) => string[]][] = [
  ["crane", (repository) => ["ls", "--insecure", repository], (printed) => printed.trim().split("\n")],
  [
    "oras",
    (repository) => ["repo", "tags", "--plain-http", repository],
    (printed) => printed.trim().split("\n"),
  ],
  [
    "skopeo",
    (repository) => ["list-tags", "--tls-verify=false", `docker://${repository}`],
    (printed) => (JSON.parse(printed) as { Tags: string[] }).Tags,
  ],
];

for (const [name, args, read] of programs) {
  withClient(name, (client) => {
    it("lists all 2,500 tags of a repository", async () => {
      const repository = `${setup.address}/docker.io/library/many`;
      const printed = await run(client.path, args(repository), sealed(await emptyFolder()));
      expect(read(printed).toSorted()).toEqual(tags.toSorted());
    });
  });
}
