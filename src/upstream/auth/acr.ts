/** Azure Container Registry with a Microsoft Entra identity: its access token is exchanged for a refresh token of the registry. */
import type { Clock } from "../../async/clock.ts";
import { type Credential, type PostForm, AccountSecret } from "./credential.ts";
import { SecretFile } from "./secretFile.ts";

/** The file in which the access token is kept fresh, and its tenant if the registry does not know it. */
interface AcrOptions {
  readonly accessTokenFile: string;
  readonly tenant?: string;
}

// The user name that stands for "the password is a token" (Azure: "az acr login --expose-token").
const tokenUser = "00000000-0000-0000-0000-000000000000";

const marginMs = 5 * 60_000;

/** An account that is known only by a Microsoft Entra access token. */
export class AcrExchange implements Credential {
  readonly account = tokenUser;
  readonly #clock: Pick<Clock, "now">;
  readonly #url: string;
  readonly #tenant: string | undefined;
  readonly #accessToken: SecretFile<{ reveal(): string }>;
  #login: { readonly secret: AccountSecret; readonly expiresAt: number } | undefined;
  #running: Promise<AccountSecret> | undefined;

  constructor(url: string, options: AcrOptions, clock: Pick<Clock, "now">) {
    this.#clock = clock;
    this.#url = url;
    this.#tenant = options.tenant;
    this.#accessToken = new SecretFile(options.accessTokenFile, (text) => ({ reveal: () => text.trim() }));
  }

  async secret(post: PostForm): Promise<AccountSecret> {
    if (this.#login && this.#clock.now() < this.#login.expiresAt - marginMs) return this.#login.secret;
    this.#running ??= this.#exchange(post).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  refused(secret: AccountSecret): void {
    if (this.#login?.secret === secret) this.#login = undefined;
    this.#accessToken.forget();
  }

  async #exchange(post: PostForm): Promise<AccountSecret> {
    const accessToken = await this.#accessToken.value();
    const answer = await post(new URL("/oauth2/exchange", this.#url), {
      grant_type: "access_token",
      service: new URL(this.#url).host,
      ...(this.#tenant === undefined ? {} : { tenant: this.#tenant }),
      access_token: accessToken.reveal(),
    });
    const token =
      typeof answer === "object" && answer !== null && "refresh_token" in answer ? answer.refresh_token : "";
    if (typeof token !== "string" || token === "") throw new Error("the exchange gave no refresh token");
    const { exp } = claimsOf(token);
    const secret = new AccountSecret(tokenUser, token, true);
    // Registry refresh tokens are valid for three hours; one that does not say is kept for one.
    this.#login = { secret, expiresAt: typeof exp === "number" ? exp * 1000 : this.#clock.now() + 3600_000 };
    return secret;
  }
}

/** What a token says about itself. Nothing here is verified, so nothing may be allowed because of it. */

/** The claims of a JSON Web Token (RFC 7519), or none when it is something else. */
export function claimsOf(token: string): Readonly<Record<string, unknown>> {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
    return typeof claims === "object" && claims !== null ? (claims as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
