/** The settings of alert webhooks, and what they must have in common. */
import { z } from "zod";
import { secretFile } from "./files.ts";
import type { Report } from "./issue.ts";
import { duration, secret } from "./values.ts";

/** The events that can be sent to a webhook; docs/operations.md says when. */
const alertNames = [
  "quota-low",
  "quota-exhausted",
  "quota-forecast",
  "upstream-down",
  "disk",
  "corrupt-blob",
  "stale",
  "tag-moved",
  "certificate",
  "audit",
] as const;

/** One of {@link alertNames}. */
export type AlertName = (typeof alertNames)[number];

const hook = z.strictObject({
  url: secret()
    .exactOptional()
    .describe("Where messages are posted. Kept secret, since such addresses carry tokens."),
  urlFile: secretFile().exactOptional().describe("A file that holds the address instead."),
  on: z
    .array(z.enum(alertNames))
    .min(1, { error: "at least one event" })
    .prefault([...alertNames])
    .describe("The events that are sent; all, unless set."),
  format: z
    .enum(["json", "slack"])
    .prefault("json")
    .describe("`json` for programs, `slack` for Slack and compatible services, such as Mattermost."),
  minInterval: duration({ max: "30d" })
    .prefault("5m")
    .describe("The least time between two messages about one event of one upstream."),
});

/** The list `alerts`. */
export const alerts = z.array(hook);

/** Reports webhooks without exactly one address that can be used. */
export function checkAlerts(hooks: z.output<typeof alerts>, report: Report): void {
  for (const [index, { url, urlFile }] of hooks.entries()) {
    const at = ["alerts", `${index}`];
    const address = url ?? urlFile;
    if (address === undefined || (url && urlFile)) report(at, "url or urlFile");
    else if (!/^https?:$/.test(URL.parse(address.reveal())?.protocol ?? ""))
      report([...at, url ? "url" : "urlFile"], "an address that begins with http:// or https://");
  }
}
