// Judges lock files by the rules of owner records and by the published orchestrator.
//
// node lock_judges.mjs PACKAGE FOLDER STALE_MS > verdicts.json
//
// Prints for each file of FOLDER: `record`, why a record's owner keeps its lock ("": it keeps nothing), `old`, whether
// its age is beyond STALE_MS, and `cleared`, whether the orchestrator clears it. The orchestrator tries to take each
// lock: afterwards the file is gone, or is its own.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const [packageFolder, folder, stale] = process.argv.slice(2);
const staleMs = Number(stale);
const { acquireLockWithRetry } = await import(
  path.join(packageFolder, "dist/orchestrator/src/persistence/lockFile.js")
);

// The rules of docs/formats.md, "Task lock", one after the other. Slow, and JavaScript throughout.

const isUsable = (text) => typeof text === "string" && text.trim() !== "";

function whyKept(text) {
  let record;
  try {
    record = JSON.parse(text.trim());
  } catch {
    return "";
  }
  if (record === null || typeof record !== "object" || Array.isArray(record)) return "";
  if (record.kind !== "codex-lock-owner" || record.schema_version !== 1 || !isUsable(record.token)) return "";
  if (!isUsable(record.host)) return "no host";
  if (record.host.trim() !== os.hostname()) return "other host";
  if (!Number.isInteger(record.pid) || record.pid <= 0) return "no pid";
  if (!isThere(record.pid)) return "";
  const acquired = isUsable(record.acquired_at) ? Date.parse(record.acquired_at.trim()) : NaN;
  if (Number.isNaN(acquired)) return "alive, no time";
  const started = startOf(record.pid);
  if (Number.isNaN(started)) return "alive, no start";
  return started > acquired + 2000 ? "" : "alive";
}

function isThere(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

const starts = new Map();

function startOf(pid) {
  if (!starts.has(pid)) {
    let shown = "";
    try {
      shown = execFileSync("ps", ["-p", String(pid), "-o", "lstart="], { env: { ...process.env, LC_ALL: "C" } });
    } catch {
      // It has ended meanwhile, or is a thread.
    }
    starts.set(pid, Date.parse(String(shown).trim()));
  }
  return starts.get(pid);
}

async function isCleared(lockPath) {
  const before = fs.statSync(lockPath).ino;
  try {
    await acquireLockWithRetry({
      taskId: "task",
      lockPath,
      retry: { maxAttempts: 1, initialDelayMs: 1, backoffFactor: 1, maxDelayMs: 1, staleMs },
      ensureDirectory: async () => {},
      createError: () => new Error("kept"),
    });
  } catch (error) {
    if (error.message !== "kept" || fs.statSync(lockPath).ino !== before) throw error;
    return false;
  }
  return true;
}

const verdicts = {};
for (const name of fs.readdirSync(folder)) {
  const file = path.join(folder, name);
  const record = whyKept(fs.readFileSync(file, "utf8"));
  const old = Date.now() - fs.statSync(file).mtimeMs > staleMs;
  verdicts[name] = { record, old, cleared: await isCleared(file) };
}
process.stdout.write(JSON.stringify(verdicts), () => process.exit(0));  // the locks it took would keep it alive
