/**
 * Writes config/reference.yaml and config/schema.json from the schema: `node scripts/generate-config.ts`.
 * Owns: those two files. Never: the shipped gatehouse.yaml.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { referenceText, schemaText } from "../src/config/reference.ts";

const folder = join(import.meta.dirname, "../config");
writeFileSync(join(folder, "schema.json"), schemaText());
writeFileSync(join(folder, "reference.yaml"), referenceText());
