import { describe } from "vitest";
import { SqliteCatalog } from "../../src/store/sqlite/catalog.ts";
import { openDatabase } from "../../src/store/sqlite/database.ts";
import { SqliteSurvey } from "../../src/store/sqlite/survey.ts";
import { surveyContract } from "./survey.contract.ts";

describe("SqliteSurvey", () => {
  surveyContract(() => {
    const database = openDatabase(":memory:");
    return { catalog: new SqliteCatalog(database), survey: new SqliteSurvey(database) };
  });
});
