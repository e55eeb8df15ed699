/** Loaded into Hubcap with `--import`: on SIGUSR2 its clock moves ahead, so that no test has to wait for a time to pass. */
import { readFileSync } from "node:fs";

const systemNow = Date.now;
let ahead = 0;

Date.now = () => systemNow() + ahead;
process.on("SIGUSR2", () => {
  ahead = Number(readFileSync(process.env["MOVABLE_CLOCK"] ?? "", "utf8"));
  process.stderr.write(`the clock is ${ahead} ms ahead\n`);
});
