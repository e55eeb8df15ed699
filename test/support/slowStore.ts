/**
 * A store whose every call yields to the event loop before it does anything, and may fail: nothing may rely on two calls happening
 * in one turn, or on any of them succeeding.
 */
import { StoreUnavailableError } from "../../src/store/error.ts";
import type { Store } from "../../src/store/open.ts";

/** Says by chance, the same for each seed, whether the next call fails. */
export function failingNowAndThen(seed: number, share: number): () => boolean {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32 < share;
  };
}

/** `inner`, whose asynchronous methods first yield, and throw StoreUnavailableError where `fails` says so. */
export function slow<T extends object>(inner: T, fails: () => boolean = () => false): T {
  return new Proxy(inner, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      // These are not asynchronous, or give what is iterated over.
      if (typeof member !== "function" || ["kept", "keptInAll", "list"].includes(String(name))) return member;
      return async (...args: unknown[]): Promise<unknown> => {
        await new Promise(setImmediate);
        if (fails()) throw new StoreUnavailableError("failing");
        return Reflect.apply(member, target, args);
      };
    },
  });
}

/** All interfaces of a store, made slow. */
export function slowStore(store: Store, fails?: () => boolean): Store {
  const { pins, anchors, sightings, visibilities, warmJobs, proof } = store.state;
  return {
    ...store,
    blobs: slow(store.blobs, fails),
    catalog: slow(store.catalog, fails),
    inventory: slow(store.inventory, fails),
    survey: slow(store.survey, fails),
    expiry: slow(store.expiry, fails),
    verdicts: slow(store.verdicts, fails),
    ledger: slow(store.ledger, fails),
    state: {
      pins: slow(pins, fails),
      anchors: slow(anchors, fails),
      sightings: slow(sightings, fails),
      visibilities: slow(visibilities, fails),
      warmJobs: slow(warmJobs, fails),
      proof: slow(proof, fails),
    },
  };
}
