/** What the fuzzer calls: one target, by the name in HUBCAP_FUZZ. A call that takes a second is a finding too. */
const { targets } = await import("./targets/targets.ts");
const target = targets[process.env.HUBCAP_FUZZ];

export function fuzz(data) {
  const started = performance.now();
  target.run(data);
  const ms = performance.now() - started;
  if (ms > 1000) throw new Error(`${data.length} bytes took ${Math.round(ms)} ms`);
}
