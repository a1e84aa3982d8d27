// An orchestrator beside a batch: records runs into tasks as docs/formats.md says, one after the other.
//
// node orchestrator.mjs OUT_DIR RUNS_DIR [--hold] [--attempts N] < runs.jsonl > report.json
//
// Both sides of a run's pair start together and are awaited to the end. The report tells which runs' snapshots
// were recorded and when, which were locked out, and whose locks were found broken at their release. A runs.json
// that cannot be read ends the program. --hold: keep the lock until the input ends.
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const [outDir, runsDir, ...flags] = process.argv.slice(2);
const option = (name, otherwise) =>
  flags.includes(name) ? Number(flags[flags.indexOf(name) + 1]) : otherwise;

const released = flags.includes("--hold") ? once(process.stdin, "end") : null;
const ATTEMPTS = option("--attempts", 5);
const FIRST_DELAY_MS = 100;
const MAX_DELAY_MS = 1000;
const STALE_MS = 300_000;

class LockedOut extends Error {}

// -- The task lock ---------------------------------------------------------------------------------------

function place(file, taskId, token) {
  let fd;
  try {
    fd = fs.openSync(file, "wx");
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
  const owner = {
    schema_version: 1, kind: "codex-lock-owner", token, task_id: taskId, pid: process.pid,
    host: os.hostname(), acquired_at: new Date().toISOString(), stale_ms: STALE_MS,
  };
  fs.writeSync(fd, JSON.stringify(owner) + "\n");
  fs.closeSync(fd);
  return true;
}

function look(file) {
  try {
    return { text: fs.readFileSync(file, "utf8"), mtimeMs: fs.statSync(file).mtimeMs };
  } catch (error) {
    if (error.code === "ENOENT") return null;
    throw error;
  }
}

function ownerIn(text) {
  try {
    const owner = JSON.parse(text);
    return owner?.kind === "codex-lock-owner" && typeof owner.token === "string" ? owner : null;
  } catch {
    return null;
  }
}

function startedAt(pid) {
  // Field 22 of /proc/PID/stat: clock ticks (100 a second) since boot.
  const stat = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
  const ticks = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
  return Date.now() - os.uptime() * 1000 + ticks * 10;
}

function isDead(owner) {
  if (owner.host !== os.hostname()) return false;
  try {
    process.kill(owner.pid, 0);
    return startedAt(owner.pid) > Date.parse(owner.acquired_at) + 2000;
  } catch (error) {
    return error.code === "ESRCH" || error.code === "ENOENT";
  }
}

function isStale(file) {
  const seen = look(file);
  if (seen === null || Date.now() - seen.mtimeMs <= STALE_MS) return false;
  const owner = ownerIn(seen.text);
  return owner === null || isDead(owner);
}

function remove(file, token) {
  if (ownerIn(look(file)?.text)?.token !== token) return false;
  fs.unlinkSync(file);
  return true;
}

function attempt(lock, gate, taskId, token) {
  if (!place(gate, taskId, token)) {
    if (isStale(gate)) fs.rmSync(gate, { force: true });
    return false;
  }
  try {
    if (place(lock, taskId, token)) return true;
    if (!isStale(lock)) return false;
    fs.rmSync(lock, { force: true });
    return place(lock, taskId, token);
  } finally {
    remove(gate, token);
  }
}

async function locked(taskId, work) {
  const lock = path.join(runsDir, `${taskId}.lock`);
  const token = randomUUID();
  let delay = FIRST_DELAY_MS;
  for (let number = 1; !attempt(lock, `${lock}.acquire`, taskId, token); number += 1) {
    if (number === ATTEMPTS) throw new LockedOut(taskId);
    await sleep(delay);
    delay = Math.min(2 * delay, MAX_DELAY_MS);
  }
  const keepalive = setInterval(() => fs.utimesSync(lock, new Date(), new Date()), STALE_MS / 2);
  try {
    return await work();
  } finally {
    clearInterval(keepalive);
    if (!remove(lock, token)) report.broken.push(taskId);
  }
}

// -- Snapshot and manifest ----------------------------------------------------------------------------------

function readSnapshot(taskId) {
  const state = look(path.join(outDir, taskId, "runs.json"));
  if (state !== null) {
    const snapshot = JSON.parse(state.text);
    if (snapshot.taskId !== taskId) throw new Error(`not a snapshot of ${taskId}`);
    return snapshot;
  }
  const legacy = look(path.join(outDir, taskId, "state.json"));
  try {
    const snapshot = JSON.parse(legacy.text);
    if (snapshot.taskId === taskId && Array.isArray(snapshot.runs)) return snapshot;
  } catch {
    // It serves other purposes as well.
  }
  return { taskId, lastRunAt: "", runs: [] };
}

function merge(snapshot, run) {
  const { runs } = snapshot;
  const known = runs.findIndex((other) => other.runId === run.runId);
  if (known >= 0) {
    runs[known] = run;
    runs.sort((a, b) => (a.timestamp < b.timestamp ? -1 : a.timestamp > b.timestamp ? 1 : 0));
  } else if (runs.length === 0 || run.timestamp >= runs.at(-1).timestamp) {
    runs.push(run);
  } else {
    let low = 0;
    for (let high = runs.length; low < high;) {
      const middle = (low + high) >> 1;
      if (runs[middle].timestamp <= run.timestamp) low = middle + 1;
      else high = middle;
    }
    runs.splice(low, 0, run);
  }
  snapshot.lastRunAt = runs.at(-1).timestamp;
}

async function recordSnapshot(run) {
  await fs.promises.mkdir(path.join(outDir, run.taskId), { recursive: true });
  await locked(run.taskId, async () => {
    const snapshot = readSnapshot(run.taskId);
    merge(snapshot, run);
    await released;
    const target = path.join(outDir, run.taskId, "runs.json");
    const temporary = `${target}.${process.pid}.${randomUUID()}`;
    await fs.promises.writeFile(temporary, JSON.stringify(snapshot, null, 2));
    await fs.promises.rename(temporary, target);
  });
}

async function recordManifest(run) {
  const folder = path.join(runsDir, run.taskId, run.runId);
  await fs.promises.mkdir(folder, { recursive: true });
  await fs.promises.writeFile(path.join(folder, "manifest.json"), JSON.stringify(run, null, 2));
}

const report = { recorded: [], lockedOut: [], broken: [] };
for await (const line of readline.createInterface({ input: process.stdin })) {
  const run = JSON.parse(line);
  const [snapshot, manifest] = await Promise.allSettled([recordSnapshot(run), recordManifest(run)]);
  if (manifest.status === "rejected") throw manifest.reason;
  if (snapshot.status === "fulfilled") report.recorded.push([run.taskId, run.runId, new Date().toISOString()]);
  else if (snapshot.reason instanceof LockedOut) report.lockedOut.push([run.taskId, run.runId]);
  else throw snapshot.reason;
}
console.log(JSON.stringify(report));
