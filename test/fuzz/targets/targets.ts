/** All that is fuzzed, by name. */
import type { FuzzTarget } from "../fuzzTarget.ts";
import { challenge } from "./challenge.ts";
import { link } from "./link.ts";
import { login } from "./login.ts";
import { manifest } from "./manifest.ts";
import { names } from "./names.ts";
import { range } from "./range.ts";
import { rate } from "./rate.ts";
import { settings } from "./settings.ts";
import { target } from "./target.ts";
import { yaml } from "./yaml.ts";

export const targets: Readonly<Record<string, FuzzTarget>> = {
  target,
  range,
  challenge,
  link,
  rate,
  manifest,
  names,
  settings,
  yaml,
  login,
};
