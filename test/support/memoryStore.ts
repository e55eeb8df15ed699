/** A store without its blobs, in memory. */
import { SqliteCatalog } from "../../src/store/sqlite/catalog.ts";
import { SqliteFile } from "../../src/store/sqlite/database.ts";
import { SqliteInventory } from "../../src/store/sqlite/inventory.ts";
import { SqliteMetadataExpiry } from "../../src/store/sqlite/metadataExpiry.ts";
import { catalogSchema } from "../../src/store/sqlite/schema.ts";
import { SqliteAnchors, SqlitePins, SqliteProof, SqliteSightings } from "../../src/store/sqlite/state.ts";
import { stateSchema } from "../../src/store/sqlite/stateSchema.ts";
import { SqliteVerdicts } from "../../src/store/sqlite/verdicts.ts";

export function memoryStore(now: () => number = Date.now) {
  const catalog = SqliteFile.inMemory(catalogSchema);
  const state = SqliteFile.inMemory(stateSchema);
  return {
    catalog: new SqliteCatalog(catalog, now),
    inventory: new SqliteInventory(catalog),
    expiry: new SqliteMetadataExpiry(catalog),
    verdicts: new SqliteVerdicts(catalog),
    pins: new SqlitePins(state),
    anchors: new SqliteAnchors(state),
    sightings: new SqliteSightings(state),
    proof: new SqliteProof(state),
  };
}
