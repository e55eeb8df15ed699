/** The linter's rules, and the one table of who may import whom, which test/unit/architecture.test.ts reads too. */

/** Module -> the modules that it may import besides itself. A new module needs a line here, a new file in one needs none. */
export const mayImport: Readonly<Record<string, readonly string[]>> = {
  async: [],
  oci: [],
  telemetry: ["async"],
  config: ["oci", "async"],
  quota: ["oci", "async"],
  trust: ["oci", "async"],
  cluster: ["oci", "async"],
  store: ["quota", "oci", "async"],
  upstream: ["quota", "oci", "async"],
  mirror: ["store", "upstream", "quota", "trust", "oci", "telemetry", "async"],
  http: ["mirror", "quota", "oci", "telemetry", "async"],
  cli: ["mirror", "store", "upstream", "quota", "trust", "cluster", "config", "oci", "telemetry", "async"],
  serve: [
    "http",
    "mirror",
    "store",
    "upstream",
    "quota",
    "trust",
    "cluster",
    "config",
    "oci",
    "telemetry",
    "async",
  ],
};

/** What `import type` may name: every module below, however many lie between. */
export function mayImportTypes(module: string): ReadonlySet<string> {
  const below = new Set(mayImport[module]);
  for (const one of below) for (const other of mayImport[one] ?? []) below.add(other);
  return below;
}

const modules = Object.keys(mayImport);

/** The store's engines are named by open.ts alone; everyone else knows their interfaces. */
const engines = {
  group: ["**/sqlite/**", "**/disk/**"],
  message: "only store/open.ts names an engine of the store: use its interfaces",
  allowTypeImports: true,
};
const sqlite = { group: ["better-sqlite3"], message: "only store/sqlite knows SQLite" };

const importRules = modules.flatMap((module) => {
  const allowed = [module, ...(mayImport[module] ?? [])];
  const message = `${module} may import ${allowed.slice(1).join(", ") || "nothing of ours"}: see docs/architecture.md`;
  const forbidden = modules.filter((other) => !allowed.includes(other));
  const [onlyTypes, nothing] = [
    forbidden.filter((other) => mayImportTypes(module).has(other)),
    forbidden.filter((other) => !mayImportTypes(module).has(other)),
  ];
  const pattern = (names: readonly string[], allowTypeImports: boolean) =>
    names.length > 0 ? [{ group: names.map((name) => `**/${name}/**`), message, allowTypeImports }] : [];
  const ruleFor = (files: readonly string[], more: readonly object[]) => ({
    files,
    rules: {
      "no-restricted-imports": [
        "error",
        {
          patterns: [
            ...more,
            ...pattern(onlyTypes, true),
            ...pattern(nothing, false),
            { regex: "/main\\.ts$", message: "main.ts is for the command line only" },
          ],
        },
      ],
    },
  });
  const general = ruleFor([`src/${module}/**`], [engines, sqlite]);
  if (module !== "store") return [general];
  return [
    general,
    ruleFor(["src/store/open.ts", "src/store/disk/**"], [sqlite]),
    ruleFor(["src/store/sqlite/**"], []),
  ];
});

export default {
  plugins: ["typescript", "unicorn", "oxc", "import", "promise", "node", "vitest"],
  categories: {
    correctness: "error",
    suspicious: "error",
  },
  rules: {
    "typescript/no-floating-promises": "error",
    "typescript/no-misused-promises": "error",
    "typescript/await-thenable": "error",
    "typescript/return-await": ["error", "in-try-catch"],
    "typescript/switch-exhaustiveness-check": [
      "error",
      {
        considerDefaultExhaustiveForUnions: true,
      },
    ],
    "typescript/no-explicit-any": "error",
    "typescript/no-non-null-assertion": "error",
    "typescript/only-throw-error": "error",
    "typescript/prefer-readonly": "error",
    "typescript/consistent-type-imports": "error",
    "typescript/no-unnecessary-condition": "off",
    "typescript/consistent-return": "off",
    "typescript/no-unsafe-type-assertion": "off",
    "import/no-cycle": "error",
    "import/no-default-export": "error",
    "import/no-named-as-default-member": "off",
    "import/no-unassigned-import": "off",
    "max-lines": [
      "error",
      {
        max: 400,
        skipComments: true,
        skipBlankLines: true,
      },
    ],
    eqeqeq: "error",
    "no-var": "error",
    "prefer-const": "error",
    "no-console": "error",
    "no-await-in-loop": "off",
    "no-shadow": "off",
    "no-underscore-dangle": "off",
    "unicorn/prefer-node-protocol": "error",
    "vitest/no-focused-tests": "error",
    "vitest/expect-expect": "off",
  },
  overrides: [
    ...importRules,
    {
      files: ["vitest.config.ts", "oxlint.config.ts"],
      rules: {
        "import/no-default-export": "off",
      },
    },
    {
      files: ["src/cli/**", "src/main.ts", "test/bench/**"],
      rules: {
        "no-console": "off",
      },
    },
  ],
  ignorePatterns: ["node_modules", "storage"],
};
