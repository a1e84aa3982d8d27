// The task lock of orchestrators newer than the published one (docs/formats.md, "Task lock"): an owner record, and a gate.
//
// Only the lock: the published package does the work under it.
import fs from "node:fs";
import os from "node:os";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const STALE_MS = 300_000;

export class LockedOut extends Error {}

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
  if (ownerIn(look(file)?.text)?.token === token) fs.rmSync(file, { force: true });
}

function attempt(lock, taskId, token) {
  const gate = `${lock}.acquire`;
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

// Has the form of the package's own lock; `retry` is what it calls so.
export async function acquire({ taskId, lockPath, retry }) {
  const ownerToken = randomUUID();
  let delay = retry.initialDelayMs;
  for (let number = 1; !attempt(lockPath, taskId, ownerToken); number += 1) {
    if (number === retry.maxAttempts) throw new LockedOut(taskId);
    await sleep(delay);
    delay = Math.min(retry.backoffFactor * delay, retry.maxDelayMs);
  }
  const keepalive = setInterval(() => fs.utimesSync(lockPath, new Date(), new Date()), STALE_MS / 2);
  return {
    lockPath,
    ownerToken,
    async release() {
      clearInterval(keepalive);
      remove(lockPath, ownerToken);
    },
  };
}
