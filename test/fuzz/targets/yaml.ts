/** The configuration's YAML, and lists of images. */
import { readImageList } from "../../../src/cli/imageList.ts";
import { readYaml } from "../../../src/config/yaml.ts";
import { must, type FuzzTarget } from "../fuzzTarget.ts";

export const yaml: FuzzTarget = {
  isTrusted: true,
  seeds: [
    "upstreams:\n  docker.io: { url: https://x }\n",
    "a: &x [1, 2]\nb: *x\n",
    "- !tag 'x'\n- |\n  text\n",
    "{a: {b: [c, 'd', \"e\"]}} # f",
    "? x\n: y",
    "%YAML 1.2\n---\n<<: {}\n",
  ],
  run(data) {
    const text = data.toString();
    const read = readYaml(text);
    if ("flaws" in read) for (const { line } of read.flaws) must(line >= 1, "a flaw has a line");
    for (const { image } of readImageList(text, "list"))
      must(image === image.trim(), "a name has no space around it");
  },
};
