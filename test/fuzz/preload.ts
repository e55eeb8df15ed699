/** Loaded before the fuzzer, so that it runs on older systems, and is given TypeScript as the modules that it can watch. */
import { register } from "node:module";
import "./olderLibc.ts";

// Before the fuzzer's own, which looks at what this one hands on.
register("./stripTypes.ts", import.meta.url);
