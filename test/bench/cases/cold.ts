/** A blob that nobody has asked for before, and one client. */
import { caches, type CacheName, type Case, type Lab } from "../lab.ts";
import { download, type Download } from "../load/download.ts";
import { judge, type Row } from "../report.ts";
import { alternate, seriesOf } from "../rounds.ts";

export const coldBlob: Case = { name: "cold", run };

async function run(lab: Lab): Promise<Row[]> {
  const measure = async (name: CacheName): Promise<Download> => {
    await using server = await lab.startCache(name);
    return await download(server.url, lab.shop.blob);
  };
  const found = await alternate<CacheName, Download>(caches, lab.quick ? 2 : 7, async (name) => {
    // Not counted: a virtual machine may hand memory that was freed back to its host, and to get that again can take as long as
    // the download. So that nobody pays for what the other one has freed, each finds what one of its own has left.
    await measure(name);
    return measure(name);
  });
  const row = (figure: keyof Download, what: string): Row =>
    judge({
      what: `cold blob, ${lab.blobSize}, one client: ${what}`,
      unit: "ms",
      hubcap: seriesOf("Hubcap", found.get("Hubcap"), figure),
      beside: seriesOf("docker-registry", found.get("docker-registry"), figure),
      demand: { of: "ratio", sense: "at most", bound: 1 },
    });
  return [row("firstByteMs", "first byte"), row("totalMs", "total")];
}
