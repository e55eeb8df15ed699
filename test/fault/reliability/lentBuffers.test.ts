/** Buffers are lent to one reader after the other: none of them may ever see what another one reads. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { endingsOf, whole, type Reader } from "../../support/reader.ts";
import { openSetup, type Setup, type Pushed } from "../../support/setup.ts";

const mib = 1024 * 1024;
/** More than the system keeps for a connection, so that buffers are waited with for slow ones. */
const size = 10 * mib;

let setup: Setup;
const pushed: Pushed[] = [];

beforeAll(async () => {
  setup = await openSetup();
  for (const name of ["one", "two", "three"]) {
    pushed.push(await setup.pushLayer(`library/lent-${name}`, size));
  }
});
afterAll(() => setup.close());

/** Of each blob: some that read as fast as they can, some that cannot, some that leave, and some that take nothing. */
function crowd(): { staying: [Pushed, Reader][]; leaving: Reader[] } {
  const staying = pushed.flatMap((one): [Pushed, Reader][] => [
    [one, setup.read(one)],
    [one, setup.read(one, { bytesPerSecond: 16 * mib })],
    [one, setup.read(one, { bytesPerSecond: 8 * mib })],
    [one, setup.read(one)],
  ]);
  const leaving = pushed.flatMap((one) => [
    ...[1, 1.5, 4, 9].map((mibs) => setup.read(one, { leaveAt: mibs * mib })),
    ...[2, 3].map((mibs) => setup.read(one, { leaveAt: mibs * mib, bytesPerSecond: 8 * mib })),
  ]);
  return { staying, leaving };
}

async function expectRight({ staying, leaving }: ReturnType<typeof crowd>): Promise<void> {
  for (const [one, reader] of staying) expect(await reader.ended).toEqual(whole(one.bytes));
  for (const { right } of await endingsOf(leaving)) expect(right).toBe(true);
}

it("serves no client a byte of another blob, or from elsewhere in the same one", async () => {
  await expectRight(crowd());
  for (const one of pushed) await setup.held(one);
  const idle = pushed.flatMap((one) => Array.from({ length: 15 }, () => setup.read(one, { idle: true })));
  await Promise.all([expectRight(crowd()), expectRight(crowd())]);
  for (const reader of idle) reader.leave();
  await expect.poll(() => setup.openBlobs()).toEqual([]);
});
