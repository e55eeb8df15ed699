/** A running Hubcap's status API, asked over HTTP. */
import { request } from "undici";
import { UsageError } from "./exit.ts";
import { readText } from "./input.ts";

type Method = "GET" | "PUT" | "POST" | "DELETE";

export interface StatusApiOptions {
  /** The command that asks, whose help says more. */
  readonly command: string;
  /** The status listener, as it was typed. */
  readonly status: string | undefined;
  /** The file with the admin token, without which nothing can be changed. */
  readonly tokenFile?: string | undefined;
  /** How long an answer may take. */
  readonly patienceMs: number;
}

/** An answer that went well. */
export interface ApiAnswer<Body> {
  readonly body: Body;
  /** The path and query of the next page, if there is one. */
  readonly next: string | undefined;
}

/** Hubcap said no; the message is its sentence. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  /** All that it said. */
  readonly answer: object;

  constructor(message: string, answer: object) {
    super(message);
    this.answer = answer;
  }
}

export class StatusApi {
  readonly #base: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #patienceMs: number;

  /** @throws UsageError when `status` is no URL or the token cannot be read. */
  constructor({ command, status, tokenFile, patienceMs }: StatusApiOptions) {
    const url = URL.parse(status ?? "http://127.0.0.1:5001");
    if (url?.protocol !== "http:" && url?.protocol !== "https:") {
      throw new UsageError(
        `--status takes an http or https URL, such as http://127.0.0.1:5001. See hubcap ${command} --help`,
      );
    }
    this.#base = `${url.origin}${url.pathname.replace(/\/$/, "")}`;
    this.#headers =
      tokenFile === undefined
        ? {}
        : { authorization: `Bearer ${readText("--token-file", tokenFile).trim()}` };
    this.#patienceMs = patienceMs;
  }

  /**
   * What is answered at `path`, which begins with `/api/v1`. By its field `mark` it is known to be Hubcap's.
   * @throws Refusal with the sentence that came instead, or Error with why none came.
   */
  async ask<Body extends object>(
    path: string,
    mark: keyof Body,
    method: Method = "GET",
    body?: object,
  ): Promise<ApiAnswer<Body>> {
    const address = this.#base + path;
    const { status, answer, link } = await this.#send(address, method, body);
    if ((status === 200 || status === 202) && isMarked<Body>(answer, mark))
      return { body: answer, next: nextOf(link) };
    // Every Hubcap has an answer to each question: what does not is something else.
    const isElsewhere = method === "GET" && status === 404;
    if (!isElsewhere && isMarked<{ error: unknown }>(answer, "error")) {
      throw new Refusal(String(answer.error), answer);
    }
    throw new Error(`what answers at ${address} is not Hubcap's status listener`);
  }

  async #send(address: string, method: Method, content: object | undefined) {
    try {
      const { statusCode, headers, body } = await request(address, {
        method,
        headers: { ...this.#headers, ...(content && { "content-type": "application/json" }) },
        ...(content && { body: JSON.stringify(content) }),
        headersTimeout: this.#patienceMs,
        bodyTimeout: this.#patienceMs,
      });
      const text = await body.text();
      return { status: statusCode, answer: readJson(text), link: headers["link"] };
    } catch (error) {
      throw new Error(`no Hubcap answers at ${address}: ${reasonOf(error)}`, { cause: error });
    }
  }
}

/** What `text` says as JSON, or undefined. */
function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isMarked<Body extends object>(answer: unknown, mark: keyof Body): answer is Body {
  return typeof answer === "object" && answer !== null && mark in answer;
}

function nextOf(link: string | string[] | undefined): string | undefined {
  return /^<(\/[^>]+)>; rel="next"$/.exec(String(link))?.[1];
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
