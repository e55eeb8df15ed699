import { describe } from "vitest";
import { testStore } from "../support/testStore.ts";
import { surveyContract } from "./survey.contract.ts";

describe("what openStore gives", () => {
  surveyContract(() => testStore());
});
