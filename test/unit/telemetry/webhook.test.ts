/** Messages to webhooks: in order, retried when they fail, given up at some time, and never with the address in a report. */
import { systemClock } from "../../../src/async/clock.ts";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { AlertMessage } from "../../../src/telemetry/alerts.ts";
import {
  slackMessage,
  Webhook,
  type WebhookFormat,
  type WebhookOptions,
} from "../../../src/telemetry/webhook.ts";
import { HookServer } from "../../support/hook.ts";

const secret = "T0KEN-5f1d";

let server: HookServer;
let webhook: Webhook;

beforeEach(async () => {
  server = await new HookServer().start();
});
afterEach(async () => {
  webhook.close();
  await server.stop();
});

function message(subject: string): AlertMessage {
  const at = "2026-01-01T00:00:00.000Z";
  return {
    event: "disk",
    subject,
    summary: "It is <full> & sad.",
    state: "firing",
    since: at,
    at,
    instance: "hubcap-0",
  };
}

function open(format: WebhookFormat = "json", pauses = [1, 1]) {
  const ended = vi.fn<WebhookOptions["ended"]>();
  webhook = new Webhook({
    url: `${server.url}/${secret}?key=${secret}`,
    format,
    ended,
    pauses,
    clock: systemClock,
  });
  return ended;
}

it("sends one after the other, what failed before what is new", async () => {
  const ended = open();
  server.statuses.push(503, 0);
  webhook.send(message("a"));
  webhook.send(message("b"));
  await expect.poll(() => ended).toHaveBeenCalledTimes(2);
  expect(server.posted.map(({ body }) => (body as AlertMessage).subject)).toEqual(["a", "a", "a", "b"]);
  expect(server.posted[0]?.body).toEqual(message("a"));
  expect(ended.mock.calls.map(([, result]) => result)).toEqual(["sent", "sent"]);
});

it.each([
  [[500, 500, 429], 3, "status 429"],
  [[404], 1, "status 404"],
  [[302], 1, "status 302"],
])("gives up after %j", async (statuses, tries, reason) => {
  const ended = open();
  server.statuses.push(...statuses);
  webhook.send(message("a"));
  await expect.poll(() => ended).toHaveBeenCalledOnce();
  expect(server.posted).toHaveLength(tries);
  expect(ended).toHaveBeenCalledWith(message("a"), "failed", reason);
});

it("never says where it sends to", async () => {
  const ended = open("json", []);
  await server.stop();
  webhook.send(message("a"));
  await expect.poll(() => ended).toHaveBeenCalledOnce();
  expect(JSON.stringify(ended.mock.calls)).not.toContain(secret);
  expect(ended.mock.calls[0]?.[2]).toBe("ECONNREFUSED");
  server = await new HookServer().start();
});

it("drops the oldest when too many wait", async () => {
  const ended = open("json", [60_000]);
  server.statuses.push(503);
  for (let number = 0; number < 105; number++) webhook.send(message(`${number}`));
  const dropped = ended.mock.calls.map(([{ subject }, result]) => `${subject} ${result}`);
  expect(dropped).toEqual(["1 dropped", "2 dropped", "3 dropped", "4 dropped"]);
});

it("speaks to Slack as Slack reads it", async () => {
  const ended = open("slack");
  webhook.send(message("storage"));
  await expect.poll(() => ended).toHaveBeenCalledOnce();
  expect(server.posted[0]?.body).toEqual({
    text: "Hubcap hubcap-0: *disk* of storage: It is &lt;full&gt; &amp; sad.",
  });
  expect(slackMessage({ ...message("storage"), state: "resolved" }).text).toBe(
    "Hubcap hubcap-0: *disk* of storage is over.",
  );
});
