/** Private Amazon ECR: a password for twelve hours, obtained with the AWS SDK's own chain of identities. */
import type { Clock } from "../../async/clock.ts";
import { type Credential, AccountSecret } from "./credential.ts";

/** The region and registry, if the host does not name them. */
interface EcrOptions {
  readonly region?: string;
  readonly registryId?: string;
}

/** Passwords are valid for twelve hours and replaced after eleven. */
const marginMs = 3600_000;

/** A password that is refused this soon was not too old: another one from AWS would not help. */
const replaceNoSoonerMs = 60_000;

/** The account of a private ECR, which is always called AWS. */
export class EcrLogin implements Credential {
  readonly account = "AWS";
  readonly #clock: Pick<Clock, "now">;
  readonly #region: string | undefined;
  readonly #registryId: string | undefined;
  #login:
    | { readonly secret: AccountSecret; readonly obtainedAt: number; readonly expiresAt: number }
    | undefined;
  #running: Promise<AccountSecret> | undefined;

  constructor(host: string, options: EcrOptions, clock: Pick<Clock, "now">) {
    this.#clock = clock;
    // <account>.dkr.ecr[-fips].<region>.amazonaws.com[.cn]
    const parts = /^(\d{12})\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\./.exec(host);
    this.#region = options.region ?? parts?.[2];
    this.#registryId = options.registryId ?? parts?.[1];
  }

  async secret(): Promise<AccountSecret> {
    if (this.#login && this.#clock.now() < this.#login.expiresAt - marginMs) return this.#login.secret;
    this.#running ??= this.#obtain().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  refused(secret: AccountSecret): void {
    const login = this.#login;
    if (login?.secret === secret && this.#clock.now() - login.obtainedAt >= replaceNoSoonerMs)
      this.#login = undefined;
  }

  async #obtain(): Promise<AccountSecret> {
    // The SDK is large, and most installations have no ECR.
    const { ECRClient, GetAuthorizationTokenCommand } = await import("@aws-sdk/client-ecr");
    const client = new ECRClient(this.#region === undefined ? {} : { region: this.#region });
    const registries = this.#registryId === undefined ? {} : { registryIds: [this.#registryId] };
    try {
      const answer = await client.send(new GetAuthorizationTokenCommand(registries));
      const given = answer.authorizationData?.[0];
      const [username, password] = Buffer.from(given?.authorizationToken ?? "", "base64")
        .toString()
        .split(":");
      if (!given?.expiresAt || !username || !password)
        throw new Error("AWS gave no authorization token for ECR");
      const secret = new AccountSecret(username, password);
      this.#login = { secret, obtainedAt: this.#clock.now(), expiresAt: given.expiresAt.getTime() };
      return secret;
    } finally {
      client.destroy();
    }
  }
}
