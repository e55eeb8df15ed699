/** A running Hubcap's status API, asked over HTTP. */
import { readFileSync } from "node:fs";
import { request } from "undici";
import { UsageError } from "./exit.ts";

/** Removing many images takes a while, and nothing is sent until it is done. */
const patienceMs = 10 * 60_000;

/** An answer that went well. */
export interface Answer {
  readonly body: unknown;
  /** The path and query of the next page, if there is one. */
  readonly next: string | undefined;
}

export class StatusApi {
  readonly #base: string;
  readonly #token: string | undefined;

  /** @throws UsageError when `status` is no URL or the token cannot be read. */
  constructor(status = "http://127.0.0.1:5001", tokenFile?: string) {
    const url = URL.parse(status);
    if (url?.protocol !== "http:" && url?.protocol !== "https:") {
      throw new UsageError("--status takes an http or https URL, such as http://127.0.0.1:5001");
    }
    this.#base = url.href.replace(/\/$/, "");
    this.#token = tokenFile === undefined ? undefined : readToken(tokenFile);
  }

  /** What is answered at `path`, which begins with `/api/v1`. @throws Error with the sentence that came instead. */
  async ask(path: string, method: "GET" | "PUT" | "POST" | "DELETE" = "GET"): Promise<Answer> {
    const address = this.#base + path;
    try {
      const { statusCode, headers, body } = await request(address, {
        method,
        headers: this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` },
        headersTimeout: patienceMs,
      });
      const answer: unknown = await body.json().catch(() => undefined);
      if (statusCode === 200) return { body: answer, next: nextOf(headers["link"]) };
      throw new Refusal(sentenceIn(answer) ?? `${address} answers ${statusCode}`);
    } catch (error) {
      if (error instanceof Refusal) throw error;
      const reason = error instanceof Error && "code" in error ? String(error.code) : String(error);
      throw new Error(`no Hubcap answers at ${this.#base}: ${reason}`, { cause: error });
    }
  }
}

/** Hubcap said no; the message is its sentence. */
class Refusal extends Error {
  override readonly name = "Refusal";
}

function readToken(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new UsageError(`--token-file ${file} cannot be read`, { cause: error });
  }
}

function nextOf(link: string | string[] | undefined): string | undefined {
  return /^<(\/[^>]+)>; rel="next"$/.exec(String(link))?.[1];
}

function sentenceIn(answer: unknown): string | undefined {
  if (typeof answer !== "object" || answer === null || !("error" in answer)) return undefined;
  return typeof answer.error === "string" ? answer.error : undefined;
}
