/** The page's own files. Their names carry a hash of their content, so that they may be kept for ever. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";

const types: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** A file as it is served. */
export interface Asset {
  readonly path: string;
  readonly type: string;
  readonly bytes: Buffer<ArrayBuffer>;
}

/** What the document refers to. */
export interface Assets {
  readonly plotStyle: Asset;
  readonly style: Asset;
  readonly plotLibrary: Asset;
  readonly plots: Asset;
  readonly script: Asset;
  readonly icon: Asset;
}

/** Reads them all, once. */
export function readAssets(): Assets {
  const { resolve } = createRequire(import.meta.url);
  return {
    plotStyle: read("uplot", resolve("uplot/dist/uPlot.min.css")),
    style: read("page", own("page.css")),
    plotLibrary: read("uplot", resolve("uplot/dist/uPlot.iife.min.js")),
    plots: read("plots", own("plots.js")),
    script: read("page", own("page.js")),
    icon: read("icon", own("icon.svg")),
  };
}

function own(name: string): string {
  return fileURLToPath(new URL(`browser/${name}`, import.meta.url));
}

function read(name: string, path: string): Asset {
  const bytes = readFileSync(path);
  const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 12);
  const extension = extname(path);
  return {
    path: `/assets/${name}.${hash}${extension}`,
    type: types[extension] ?? "application/octet-stream",
    bytes,
  };
}
