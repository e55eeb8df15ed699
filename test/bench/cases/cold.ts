/** A blob that no one has asked for before, and one client. */
import { wholeOf, type Goods } from "../goods.ts";
import { caches, type CacheName, type Case, type Lab } from "../lab.ts";
import { download, type Download } from "../load/download.ts";
import { judge, type Demand, type Row } from "../report.ts";
import { alternate, seriesOf } from "../rounds.ts";

export const coldBlob: Case = { name: "cold", run };

interface Found extends Download {
  /** Until the first byte where the process has served no blob yet. */
  readonly firstOfAllMs: number;
}

async function run(lab: Lab): Promise<Row[]> {
  const measure = async (name: CacheName, before?: readonly Goods[]): Promise<Download> => {
    await using server = await lab.startCache(name, before);
    return await download(server.url, lab.shop.blob);
  };
  const found = await alternate<CacheName, Found>(caches, lab.quick ? 2 : 7, async (name) => {
    // Its total does not count: a virtual machine may hand memory that was freed back to its host, and to get that again can take
    // as long as the download. So that no case pays for what the one before has freed, the next one finds what this one has left.
    const { firstByteMs: firstOfAllMs } = await measure(name);
    return { ...(await measure(name, wholeOf(lab.shop.warmUp))), firstOfAllMs };
  });
  const row = (figure: keyof Found, what: string, demand?: Demand): Row =>
    judge({
      what: `cold blob, ${lab.blobSize}, one client: ${what}`,
      unit: "ms",
      hubcap: seriesOf("Hubcap", found.get("Hubcap"), figure),
      beside: seriesOf("docker-registry", found.get("docker-registry"), figure),
      ...(demand && { demand }),
    });
  const noLater: Demand = { of: "ratio", sense: "at most", bound: 1 };
  return [
    row("firstByteMs", "first byte", noLater),
    row("totalMs", "total", noLater),
    row("firstOfAllMs", "first byte, of a process that served no blob yet"),
  ];
}
