/** Messages of alerts: one when a problem begins and one when it ends, however often the state is reported. */
import { expect, it } from "vitest";
import { Alerts, type Alert, type AlertMessage } from "../../../src/telemetry/alerts.ts";

const minute = 60_000;
const low: Alert = { event: "quota-low", subject: "docker.io", summary: "few" };
const disk: Alert = { event: "disk", subject: "storage", summary: "full" };

function open(on: readonly string[] = ["quota-low", "disk"]) {
  const sent: AlertMessage[] = [];
  const webhook = { send: (message: AlertMessage) => void sent.push(message) };
  const alerts = new Alerts([{ webhook, on, minIntervalMs: 5 * minute }], "hubcap-0");
  return { alerts, said: () => sent.splice(0).map(({ event, state }) => `${event} ${state}`), sent };
}

it("sends one message when a problem begins and one when it ends, with when it began", () => {
  const { alerts, sent, said } = open();
  alerts.report([], 0);
  for (const at of [1, 2, 3]) alerts.report([low], at * minute);
  expect(sent).toEqual([
    {
      ...low,
      state: "firing",
      since: "1970-01-01T00:01:00.000Z",
      at: "1970-01-01T00:01:00.000Z",
      instance: "hubcap-0",
    },
  ]);
  alerts.report([low, disk], 20 * minute);
  alerts.report([disk], 21 * minute);
  alerts.report([disk], 30 * minute);
  expect(sent.at(-1)).toMatchObject({ since: "1970-01-01T00:01:00.000Z", at: "1970-01-01T00:21:00.000Z" });
  expect(said()).toEqual(["quota-low firing", "disk firing", "quota-low resolved"]);
});

it("sends at most one message in the interval, with the state at its end", () => {
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

it("a hook gets only the events it asked for, also after the clock went back", () => {
  const { alerts, said } = open(["disk"]);
  alerts.report([low, disk], 100 * minute);
  alerts.report([], 10 * minute);
  expect(said()).toEqual(["disk firing", "disk resolved"]);
});
