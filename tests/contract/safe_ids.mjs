// Asks the published orchestrator which ids it accepts: node safe_ids.mjs PACKAGE < ids.json > accepted.json
import fs from "node:fs";
import path from "node:path";

const { sanitizeIdentifier } = await import(
  path.join(process.argv[2], "dist/orchestrator/src/persistence/sanitizeIdentifier.js")
);

function accepts(id) {
  try {
    return sanitizeIdentifier("task", id) === id;
  } catch {
    return false;
  }
}

console.log(JSON.stringify(JSON.parse(fs.readFileSync(0, "utf8")).map(accepts)));
