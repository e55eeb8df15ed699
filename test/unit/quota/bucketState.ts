/** A bucket at the model upstream, and what tests do with it repeatedly. */
import { expect } from "vitest";
import type { Account, AccountOptions } from "../../../src/quota/account.ts";
import type { QuotaEvent } from "../../../src/quota/events.ts";
import { QuotaError, type QuotaAnswer, type Reason, type RequestKind } from "../../../src/quota/quota.ts";
import { requestOf, World } from "./world.ts";

/** A model upstream with `limit` pulls a minute, and its bucket. */
export async function started(
  limit: number,
  more: Partial<AccountOptions> = {},
  hasHeaders = true,
): Promise<World> {
  const world = new World({ limit, hasHeaders });
  await world.start(more);
  return world;
}

/** Sends a request and has it answered; false when it was refused. */
export async function pull(world: World, kind: RequestKind = "manifest-get"): Promise<boolean> {
  const flight = await world.send(kind);
  if (flight) world.answer(flight);
  return flight !== undefined;
}

/** Sends pulls, all of which must be allowed. */
export async function pulls(world: World, count: number): Promise<void> {
  for (let index = 0; index < count; index += 1) expect(await pull(world)).toBe(true);
}

/** Sends a request that is answered with `answer`. */
export async function answered(
  account: Account,
  answer: Partial<QuotaAnswer>,
  kind: RequestKind = "manifest-get",
) {
  const reservation = account.reserve(requestOf(kind));
  account.admit(reservation);
  await account.begin(reservation);
  account.answered(reservation, { status: 200, headers: {}, ...answer });
}

/** Why a request may not be sent, which it must not. */
export function refusal(account: Account, kind: RequestKind = "manifest-get", reason: Reason = "pull") {
  const verdict = account.balance.verdict(requestOf(kind, reason));
  if (!(verdict instanceof QuotaError)) throw new Error(`it may ${verdict}`);
  return verdict;
}

/** All events from here on. */
export function eventsOf(account: Account): QuotaEvent[] {
  const events: QuotaEvent[] = [];
  account.on((event) => void events.push(event));
  return events;
}
