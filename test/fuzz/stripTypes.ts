/** A loader: TypeScript becomes JavaScript before others see it. Node itself would strip the types after them. */
import { stripTypeScriptTypes, type LoadHook } from "node:module";

export const load: LoadHook = async (url, context, nextLoad) => {
  const loaded = await nextLoad(url, context);
  if (loaded.format !== "module-typescript" || loaded.source === undefined) return loaded;
  const text =
    typeof loaded.source === "string" ? loaded.source : Buffer.from(loaded.source as Uint8Array).toString();
  return { format: "module", source: stripTypeScriptTypes(text), shortCircuit: true };
};
