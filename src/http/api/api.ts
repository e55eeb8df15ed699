/** The status API: the resources under `/api/v1`, each in a file of its own, and the document that describes them. */
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Log } from "../../telemetry/log.ts";
import { addCache, type CacheOptions } from "./cache.ts";
import { addEvents, type EventsOptions } from "./events.ts";
import { addEvict, type EvictOptions } from "./evict.ts";
import { addExplain, type ExplainOptions } from "./explain.ts";
import { onFailure, refuseInput } from "./failure.ts";
import { addPins, type PinsOptions } from "./pins.ts";
import { addQuota, type QuotaOptions } from "./quota.ts";
import { addRehearse, type RehearseOptions } from "./rehearse.ts";
import { addSpend, type SpendOptions } from "./spend.ts";
import { addWarm, type WarmOptions } from "./warm.ts";

/** What all resources are made with. */
export type StatusApiOptions = QuotaOptions &
  SpendOptions &
  EventsOptions &
  ExplainOptions &
  RehearseOptions &
  CacheOptions &
  EvictOptions &
  PinsOptions &
  WarmOptions & { readonly log: Log };

/** The app that is mounted at `/api/v1`. */
export function statusApi(options: StatusApiOptions): OpenAPIHono {
  const api = new OpenAPIHono({ defaultHook: refuseInput });
  api.onError(onFailure(options.log));
  api.use(async (c, next) => {
    c.header("Cache-Control", "no-store");
    await next();
  });
  api.openAPIRegistry.registerComponent("securitySchemes", "adminToken", {
    type: "http",
    scheme: "bearer",
    description: "The token in the file that admin.tokenFile names.",
  });
  addQuota(api, options);
  addSpend(api, options);
  addEvents(api, options);
  addExplain(api, options);
  addRehearse(api, options);
  addCache(api, options);
  addEvict(api, options);
  addPins(api, options);
  addWarm(api, options);
  api.doc31("/openapi.json", {
    openapi: "3.1.0",
    info: {
      title: "Hubcap's status API",
      version: "1",
      description:
        "What is left of every upstream's quota, what spent it, what a pull would get, and what is held.",
    },
    servers: [{ url: "/api/v1" }],
  });
  return api;
}
