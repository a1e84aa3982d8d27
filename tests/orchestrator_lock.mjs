// The orchestrator's side of the task lock (docs/formats.md), for contending with batchpersist.
// node orchestrator_lock.mjs RUNS_DIR TASK_ID COUNTER_FILE ROUNDS
// Takes the lock ROUNDS times and each time increments the number in COUNTER_FILE, not atomically.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { randomUUID } from "node:crypto";

const [runsDir, taskId, counter, rounds] = process.argv.slice(2);
const lock = path.join(runsDir, `${taskId}.lock`);
const gate = `${lock}.acquire`;
const STALE_MS = 300_000;
// More patient than the orchestrator's 5 attempts, so that a busy machine cannot fail the test.
const ATTEMPTS = 5000;
const FIRST_DELAY_MS = 1;
const MAX_DELAY_MS = 4;

const sleep = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

function place(file, token) {
  let fd;
  try {
    fd = fs.openSync(file, "wx");
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
  fs.writeSync(fd, JSON.stringify({
    schema_version: 1, kind: "codex-lock-owner", token, task_id: taskId, pid: process.pid,
    host: os.hostname(), acquired_at: new Date().toISOString(), stale_ms: STALE_MS,
  }) + "\n");
  fs.closeSync(fd);
  return true;
}

function read(file) {
  try {
    return fs.readFileSync(file, "utf8");
  } catch (error) {
    if (error.code === "ENOENT") return null;
    throw error;
  }
}

function carries(file, token) {
  try {
    return JSON.parse(read(file))?.token === token;
  } catch {
    return false;
  }
}

function remove(file, token) {
  if (!carries(file, token)) throw new Error(`${file} was lost while held`);
  fs.unlinkSync(file);
}

function attempt(token) {
  if (!place(gate, token)) return false;
  try {
    return place(lock, token);
  } finally {
    remove(gate, token);
  }
}

function acquire(token) {
  let delay = FIRST_DELAY_MS;
  for (let number = 1; number <= ATTEMPTS; number += 1) {
    if (attempt(token)) return;
    sleep(delay);
    delay = Math.min(2 * delay, MAX_DELAY_MS);
  }
  throw new Error(`locked out by ${read(lock)}`);
}

for (let round = 0; round < Number(rounds); round += 1) {
  const token = randomUUID();
  acquire(token);
  const number = Number(fs.readFileSync(counter, "utf8"));
  sleep(0.5);
  fs.writeFileSync(counter, String(number + 1));
  remove(lock, token);
}
