import { describe } from "vitest";
import { SqliteCatalog } from "../../src/store/sqlite/catalog.ts";
import { openDatabase } from "../../src/store/sqlite/database.ts";
import { SqliteSurvey } from "../../src/store/sqlite/survey.ts";
import { surveyContract } from "./survey.contract.ts";
import { SqliteFile } from "../../src/store/sqlite/file.ts";
import { catalogSchema } from "../../src/store/sqlite/schema.ts";

describe("SqliteSurvey", () => {
  surveyContract(() => {
    const database = openDatabase(":memory:", catalogSchema);
    return {
      catalog: new SqliteCatalog(new SqliteFile(database)),
      survey: new SqliteSurvey(new SqliteFile(database)),
    };
  });
});
