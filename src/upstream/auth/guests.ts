/** Guests: clients that prove themselves for a repository with an account of their own at its upstream. */
import { createHmac, randomBytes } from "node:crypto";
import { LRUCache } from "lru-cache";
import { formatRepository, type Repository } from "../../oci/reference.ts";
import type { Bucket } from "../../quota/quota.ts";
import type { Credential } from "./credential.ts";
import { UpstreamError } from "../error.ts";
import type { RequestOptions, Registry } from "../registry.ts";
import { Secret } from "./secret.ts";
import { sees, type ProbedContent } from "../visibilityProbe.ts";

/** A user name and password as a client sent them. Nothing keeps them longer than the request. */
export interface Login {
  readonly username: string;
  readonly password: string;
}

export interface GuestsOptions {
  readonly registry: Registry;
  /** Not the shared account's. */
  readonly bucket: Bucket;
  /** The shared account's name: nobody else knows its password, and trying one could lock it. */
  readonly account: string;
  readonly now: () => number;
}

/** How long what was found is believed, in ms: a guest whose access ends is a guest for this long at most. */
const beliefMs = 60_000;
/** How long a password that was refused is not tried again. */
const refusalMs = 10 * 60_000;
/** So many wrong passwords in that time, and no new one is tried: upstreams lock the address that keeps sending them. */
const mostWrong = 10;
const mostWrongOfClient = 3;

interface Guest {
  readonly eyes: Registry;
  isRefused: boolean;
  isProven: boolean;
}

/** The guests of one upstream, known by a hash that means nothing to another process. */
export class Guests {
  readonly #options: GuestsOptions;
  readonly #salt = randomBytes(32);
  readonly #guests = new LRUCache<string, Guest>({ max: 200, ttl: refusalMs });
  readonly #verdicts = new LRUCache<string, boolean>({ max: 5000, ttl: beliefMs });
  readonly #refusals: { readonly client: string; readonly at: number }[] = [];

  constructor(options: GuestsOptions) {
    this.#options = options;
  }

  /** May who logs in so see `repository`? What cannot be found out is a no. @throws UpstreamError when the upstream does not answer. */
  async see(
    login: Login,
    repository: Repository,
    wanted: ProbedContent,
    asked: RequestOptions,
  ): Promise<boolean> {
    const { username, password } = login;
    if (username === "" || password === "" || username === this.#options.account) return false;
    const hash = createHmac("sha256", this.#salt).update(`${username.length}:${username}${password}`);
    const id = hash.digest("base64");
    const place = `${id} ${formatRepository(repository)}`;
    const known = this.#verdicts.get(place);
    if (known !== undefined) return known;
    const guest = this.#guest(id, login);
    const { client } = asked.purpose;
    if (guest.isRefused || (!guest.isProven && !this.#mayTry(client))) return false;
    const seen = await sees(guest.eyes, repository, wanted, asked).catch((error: unknown) => {
      if (error instanceof UpstreamError && error.kind === "denied") return false;
      throw error;
    });
    if (guest.isRefused) this.#refusals.push({ client, at: this.#options.now() });
    else guest.isProven ||= seen;
    this.#verdicts.set(place, seen);
    return seen;
  }

  #guest(id: string, { username, password }: Login): Guest {
    const known = this.#guests.get(id);
    if (known) return known;
    const secret = new Secret(username, password);
    const credential: Credential = {
      // It is shown in messages, and what a client sends is nobody's business.
      account: "a guest",
      secret: async () => secret,
      refused: () => {
        guest.isRefused = true;
      },
    };
    const { registry, bucket } = this.#options;
    const guest: Guest = { eyes: registry.as(credential, bucket), isRefused: false, isProven: false };
    this.#guests.set(id, guest);
    return guest;
  }

  #mayTry(client: string): boolean {
    const since = this.#options.now() - refusalMs;
    while ((this.#refusals[0]?.at ?? Number.POSITIVE_INFINITY) < since) this.#refusals.shift();
    const own = this.#refusals.filter((refusal) => refusal.client === client);
    return this.#refusals.length < mostWrong && own.length < mostWrongOfClient;
  }
}
