/** The alerts: each fires when it should and not before, says what is wrong, leads to its runbook, and reads metrics that exist. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { ask } from "../support/ask.ts";
import { withClient, type Client } from "../support/clients.ts";
import { run } from "../support/clients/process.ts";
import { startHubcap } from "../support/hubcap.ts";
import { least, only, render, withFolder } from "./chart.ts";

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

/** What was measured, and until when an alert is silent, and when and with which labels it then fires. */
interface Course {
  /** Series and their values, one a minute, in promtool's notation. */
  readonly series: Readonly<Record<string, string>>;
  readonly silent: string;
  readonly fires: string;
  readonly labels: Readonly<Record<string, string>>;
}

const hub = { namespace: "registry", upstream: "docker.io" };
const pod = { namespace: "registry", pod: "hubcap-0" };
const account = { ...hub, account: "cluster" };
const day = 86_400;

function series(name: string, labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return `${name}{${pairs.join(",")}}`;
}

const courses: Readonly<Record<string, Course>> = {
  HubcapDown: {
    series: { [series("hubcap_cache_capacity_bytes", { namespace: "registry" })]: "1x10 stale" },
    silent: "14m",
    fires: "17m",
    labels: {},
  },
  HubcapQuotaLow: {
    series: { [series("hubcap_quota_state", { ...account, state: "reserve" })]: "0x5 1x30" },
    silent: "15m",
    fires: "17m",
    labels: account,
  },
  HubcapQuotaExhausted: {
    series: { [series("hubcap_quota_state", { ...account, state: "exhausted" })]: "0x5 1x30" },
    silent: "5m",
    fires: "6m",
    labels: account,
  },
  HubcapQuotaEmptyWithinAnHour: {
    // promtool's clock begins at 0.
    series: { [series("hubcap_quota_empty_at_seconds", account)]: "7200x90" },
    silent: "64m",
    fires: "67m",
    labels: account,
  },
  HubcapQuotaRefused: {
    series: { [series("hubcap_quota_refused_total", { ...hub, reason: "pull" })]: "0x5 1+1x10" },
    silent: "5m",
    fires: "7m",
    labels: hub,
  },
  HubcapRehearsalForgotten: {
    series: { [series("hubcap_rehearsal", { ...account, mode: "empty" })]: "0x5 1x120" },
    silent: "65m",
    fires: "67m",
    labels: { ...hub, mode: "empty" },
  },
  HubcapUpstreamDown: {
    // A third of the requests fails for half an hour, then all of them.
    series: {
      [series("hubcap_upstream_requests_total", { ...hub, kind: "manifest-head", status: "200" })]:
        "0+10x30 300x30",
      [series("hubcap_upstream_requests_total", { ...hub, kind: "manifest-head", status: "error" })]:
        "0+5x30 150+10x30",
    },
    silent: "30m",
    fires: "42m",
    labels: hub,
  },
  HubcapStaleForADay: {
    series: {
      [series("hubcap_stale_age_seconds_count", hub)]: "0+1x60",
      [series("hubcap_stale_age_seconds_bucket", { ...hub, le: "86400" })]: "0+1x20 20x40",
    },
    silent: "20m",
    fires: "23m",
    labels: hub,
  },
  HubcapStorageDegraded: {
    series: {
      [series("hubcap_storage_degraded", { ...pod, reason: "full" })]: "0x5 1x20",
    },
    silent: "10m",
    fires: "12m",
    labels: { ...pod, reason: "full" },
  },
  HubcapBlobsQuarantined: {
    // The first sample is not 0 any more.
    series: {
      [series("hubcap_quarantined_total", { ...pod, reason: "bytes" })]: "_x9 1x30",
    },
    silent: "8m",
    fires: "12m",
    labels: pod,
  },
  HubcapUpstreamCertificateExpires: {
    series: { [series("hubcap_upstream_certificate_expiry_seconds", hub)]: `${14 * day + 3600}x180` },
    silent: "119m",
    fires: "122m",
    labels: hub,
  },
  HubcapCertificateExpires: {
    series: {
      [series("hubcap_certificate_expiry_seconds", {
        namespace: "registry",
        listener: "registry",
      })]: `${14 * day + 3600}x180`,
    },
    silent: "119m",
    fires: "122m",
    labels: { namespace: "registry", listener: "registry" },
  },
  HubcapCertificateRefused: {
    series: {
      [series("hubcap_certificate_refused", { namespace: "registry", listener: "status" })]: "0x5 1x20",
    },
    silent: "10m",
    fires: "12m",
    labels: { namespace: "registry", listener: "status" },
  },
  HubcapAuditLinesLost: {
    series: {
      [series("hubcap_audit_lost_lines_total", pod)]: "0x5 1+1x10",
    },
    silent: "5m",
    fires: "7m",
    labels: pod,
  },
  HubcapClusterListsFail: {
    // One in two fails for an hour, which is put up with; then all do.
    series: {
      [series("hubcap_cluster_lists_total", { ...pod, result: "ok" })]: "0+1x60 60x180",
      [series("hubcap_cluster_lists_total", { ...pod, result: "failed" })]: "0+1x240",
    },
    silent: "130m",
    fires: "140m",
    labels: pod,
  },
};

/** The text with `{{ $labels.x }}` filled in, as Prometheus does it. */
function filled(text: string, labels: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\{\{ \$labels\.(\w+) \}\}/g, (_, label: string) => labels[label] ?? "");
}

async function rulesOfTheChart(): Promise<{
  readonly groups: readonly { readonly rules: readonly Rule[] }[];
}> {
  return only(await render({ ...least, prometheusRule: { enabled: true } }), "PrometheusRule").spec;
}

const rules = (parse(await readFile("helm/files/alerts.yaml", "utf8")) as { groups: [{ rules: Rule[] }] })
  .groups[0].rules;

withClient("promtool", ({ path }: Client) => {
  it("are rules to Prometheus, as a file and as the chart writes them", async () => {
    await withFolder(async (folder) => {
      const file = join(folder, "rules.yaml");
      await writeFile(file, stringify(await rulesOfTheChart()));
      for (const one of [file, "helm/files/alerts.yaml"]) {
        expect(await run(path, ["check", "rules", one], process.env)).toContain(
          `SUCCESS: ${rules.length} rules found`,
        );
      }
    });
  });

  it.each(rules.map((rule) => [rule.alert, rule] as const))(
    "%s fires in time, and not before",
    async (alert, rule) => {
      const course = courses[alert];
      if (course === undefined) throw new Error("no course makes it fire");
      const annotations = Object.fromEntries(
        Object.entries(rule.annotations).map(([name, text]) => [name, filled(text, course.labels)]),
      );
      const fired = { exp_labels: { ...rule.labels, ...course.labels }, exp_annotations: annotations };
      await withFolder(async (folder) => {
        await writeFile(join(folder, "rules.yaml"), await readFile("helm/files/alerts.yaml"));
        const test = {
          interval: "1m",
          input_series: Object.entries(course.series).map(([name, values]) => ({ series: name, values })),
          alert_rule_test: [
            { eval_time: course.silent, alertname: alert, exp_alerts: [] },
            { eval_time: course.fires, alertname: alert, exp_alerts: [fired] },
          ],
        };
        const file = join(folder, "test.yaml");
        await writeFile(
          file,
          stringify({ rule_files: ["rules.yaml"], evaluation_interval: "1m", tests: [test] }),
        );
        expect(await run(path, ["test", "rules", file], process.env)).toContain("SUCCESS");
      });
    },
  );
});

it("every alert leads to an entry of the runbook that is there", async () => {
  const page = await readFile("docs/operations.md", "utf8");
  const anchors = [...page.matchAll(/^#+ (.+)$/gm)].map(([, title = ""]) =>
    title.toLowerCase().replaceAll(" ", "-"),
  );
  for (const { alert, annotations, labels } of rules) {
    expect(annotations["runbook_url"]).toBe(`docs/operations.md#${alert.toLowerCase()}`);
    expect(anchors).toContain(alert.toLowerCase());
    expect(annotations["summary"]).toMatch(/\S/);
    expect(["warning", "critical"]).toContain(labels["severity"]);
  }
});

it("alerts and dashboard read no metric that Hubcap does not tell", async () => {
  const hubcap = await startHubcap();
  try {
    const metrics = (await ask(`${hubcap.statusUrl}/metrics`)).body.toString();
    const types = new Map(
      [...metrics.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = "", type = ""]) => [name, type]),
    );
    const families = new Set(
      [...types].flatMap(([name, type]) => [
        name,
        ...(type === "histogram" ? ["_bucket", "_sum", "_count"].map((end) => name + end) : []),
      ]),
    );
    const dashboard = await readFile("helm/files/dashboard.json", "utf8");
    const { panels } = JSON.parse(dashboard) as { panels: { targets?: { expr: string }[] }[] };
    const queries = [
      ...rules.map(({ expr }) => expr),
      ...panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
    ];
    const names = new Set(`${queries.join("\n")}\n${dashboard}`.match(/\b(?:hubcap|process)_\w+/g));
    expect(names.size).toBeGreaterThan(30);
    expect([...names].filter((name) => !families.has(name))).toEqual([]);
  } finally {
    await hubcap.dispose();
  }
});
