/** What webhooks are told: the change and the recovery, once each, however often somebody looks. */
import { expect, it } from "vitest";
import { Alerts, type Alert, type AlertMessage } from "../../../src/telemetry/alerts.ts";

const minute = 60_000;
const low: Alert = { event: "quota-low", subject: "docker.io", summary: "few" };
const disk: Alert = { event: "disk", subject: "storage", summary: "full" };

function open(on: readonly string[] = ["quota-low", "disk"]) {
  const sent: AlertMessage[] = [];
  const webhook = { send: (message: AlertMessage) => void sent.push(message) };
  const alerts = new Alerts([{ webhook, on, minIntervalMs: 5 * minute }], "house");
  return { alerts, said: () => sent.splice(0).map(({ event, state }) => `${event} ${state}`), sent };
}

it("a change is told once, and so is its end, with when it began", () => {
  const { alerts, sent, said } = open();
  alerts.report([], 0);
  for (const at of [1, 2, 3]) alerts.report([low], at * minute);
  expect(sent).toEqual([
    {
      ...low,
      state: "firing",
      since: "1970-01-01T00:01:00.000Z",
      at: "1970-01-01T00:01:00.000Z",
      instance: "house",
    },
  ]);
  alerts.report([low, disk], 20 * minute);
  alerts.report([disk], 21 * minute);
  alerts.report([disk], 30 * minute);
  expect(sent.at(-1)).toMatchObject({ since: "1970-01-01T00:01:00.000Z", at: "1970-01-01T00:21:00.000Z" });
  expect(said()).toEqual(["quota-low firing", "disk firing", "quota-low resolved"]);
});

it("what comes and goes is told once in its interval, as it then is", () => {
  const { alerts, said } = open();
  alerts.report([low], 0);
  for (let second = 10; second < 300; second += 10) alerts.report(second % 20 ? [low] : [], second * 1000);
  expect(said()).toEqual(["quota-low firing"]);
  alerts.report([], 5 * minute);
  expect(said()).toEqual(["quota-low resolved"]);
  alerts.report([low], 6 * minute);
  expect(said()).toEqual([]);
  alerts.report([low], 10 * minute);
  expect(said()).toEqual(["quota-low firing"]);
});

it("a hook hears only of what it asked for, and a clock that went back silences nobody", () => {
  const { alerts, said } = open(["disk"]);
  alerts.report([low, disk], 100 * minute);
  alerts.report([], 10 * minute);
  expect(said()).toEqual(["disk firing", "disk resolved"]);
});
