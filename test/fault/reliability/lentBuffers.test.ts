/** Buffers are lent to one reader after the other: none of them may ever see what another one reads. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { endingsOf, whole, type Reader } from "../../support/reader.ts";
import { openHouse, type House, type Pushed } from "../../support/setup.ts";

const mib = 1024 * 1024;
/** More than the system keeps for a connection, so that buffers are waited with for slow ones. */
const size = 10 * mib;

let house: House;
const pushed: Pushed[] = [];

beforeAll(async () => {
  house = await openHouse();
  for (const name of ["one", "two", "three"]) {
    pushed.push(await house.pushLayer(`library/lent-${name}`, size));
  }
});
afterAll(() => house.close());

/** Of each blob: some that read as fast as they can, some that cannot, some that leave, and some that take nothing. */
function crowd(): { staying: [Pushed, Reader][]; leaving: Reader[] } {
  const staying = pushed.flatMap((one): [Pushed, Reader][] => [
    [one, house.read(one)],
    [one, house.read(one, { bytesPerSecond: 16 * mib })],
    [one, house.read(one, { bytesPerSecond: 8 * mib })],
    [one, house.read(one)],
  ]);
  const leaving = pushed.flatMap((one) => [
    ...[1, 1.5, 4, 9].map((mibs) => house.read(one, { leaveAt: mibs * mib })),
    ...[2, 3].map((mibs) => house.read(one, { leaveAt: mibs * mib, bytesPerSecond: 8 * mib })),
  ]);
  return { staying, leaving };
}

async function expectRight({ staying, leaving }: ReturnType<typeof crowd>): Promise<void> {
  for (const [one, reader] of staying) expect(await reader.ended).toEqual(whole(one.bytes));
  for (const { right } of await endingsOf(leaving)) expect(right).toBe(true);
}

it("serves nobody a byte of another blob, or from elsewhere in the same one", async () => {
  await expectRight(crowd());
  for (const one of pushed) await house.held(one);
  const idle = pushed.flatMap((one) => Array.from({ length: 15 }, () => house.read(one, { idle: true })));
  await Promise.all([expectRight(crowd()), expectRight(crowd())]);
  for (const reader of idle) reader.leave();
  await expect.poll(() => house.openBlobs()).toEqual([]);
});
