/** Holds real answers against an OpenAPI 3.1 document. */
import { Ajv2020 } from "ajv/dist/2020.js";
import { ask, type Reply } from "./ask.ts";

interface Operation {
  readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, unknown>> }>>;
}

/** The parts of a document that are looked at. */
export interface OpenApiDocument {
  readonly openapi: string;
  readonly servers: readonly { readonly url: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, unknown>> };
}

/** A real answer. */
export interface Answered {
  readonly method: string;
  /** With the server's prefix, without the query. */
  readonly path: string;
  readonly status: number;
  readonly contentType: string | undefined;
  readonly body: unknown;
}

// RFC 3339, section 5.6.
const dateTime = /^\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\d(?:\.\d+)?(?:Z|[+-][0-2]\d:[0-5]\d)$/;

export class OpenApiChecker {
  readonly #document: OpenApiDocument;
  readonly #ajv = new Ajv2020({ allErrors: true, allowUnionTypes: true });

  /** Throws when a schema of the document cannot be used. */
  constructor(document: OpenApiDocument) {
    this.#document = document;
    this.#ajv.addVocabulary(["example", "components", "paths"]);
    this.#ajv.addFormat("date-time", dateTime);
    this.#ajv.addSchema({ components: document.components, paths: document.paths }, "document", true, false);
    for (const name of Object.keys(document.components.schemas)) {
      this.#ajv.compile({ $ref: pointer(["components", "schemas", name]) });
    }
  }

  /** Holds answers against the document that a status listener serves itself. */
  static async of(statusUrl: string): Promise<OpenApiChecker> {
    const { body } = await ask(`${statusUrl}/api/v1/openapi.json`);
    return new OpenApiChecker(JSON.parse(body.toString()) as OpenApiDocument);
  }

  /** What is wrong with the reply to a request for `url`, as {@link flaws} tells it. */
  flawsIn(method: string, url: string, { status, headers, body }: Reply): string[] {
    const { pathname: path } = new URL(url);
    const contentType = headers["content-type"];
    return this.flaws({ method, path, status, contentType, body: JSON.parse(body.toString()) as unknown });
  }

  /** What is wrong with an answer: that it is not described, or what its schema says. Empty when nothing is. */
  flaws({ method, path, status, contentType = "", body }: Answered): string[] {
    const route = this.#routeOf(path.slice((this.#document.servers[0]?.url ?? "").length));
    const operation = this.#document.paths[route]?.[method.toLowerCase()];
    if (!operation) return [`${method} ${route} is not described`];
    const type = contentType.split(";", 1)[0] ?? "";
    if (operation.responses[status]?.content?.[type] === undefined) {
      return [`${method} ${route} is not described to answer ${status} with ${type}`];
    }
    const way = ["paths", route, method.toLowerCase(), "responses", `${status}`, "content", type, "schema"];
    return this.#check(pointer(way), body);
  }

  /** The route that a path belongs to: itself, or one with a parameter as its last part. */
  #routeOf(path: string): string {
    const start = path.slice(0, path.lastIndexOf("/") + 1);
    const { paths } = this.#document;
    if (paths[path]) return path;
    return Object.keys(paths).find((route) => route.startsWith(`${start}{`)) ?? path;
  }

  /** What is wrong with a value of a named schema. */
  flawsOf(schema: string, value: unknown): string[] {
    return this.#check(pointer(["components", "schemas", schema]), value);
  }

  #check($ref: string, value: unknown): string[] {
    const validate = this.#ajv.compile({ $ref });
    if (validate(value)) return [];
    return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
  }
}

function pointer(way: readonly string[]): string {
  const escaped = way.map((part) => encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1")));
  return `document#/${escaped.join("/")}`;
}
