// Contends for a task's lock: node orchestrator_lock.mjs PACKAGE GENERATION RUNS_DIR TASK_ID COUNTER_FILE ROUNDS
//
// Takes the lock ROUNDS times, as the `published` package does or with `owner-records`, and each time increments the
// number in COUNTER_FILE, not atomically.
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { acquire } from "./owner_lock.mjs";

const [packageFolder, generation, runsDir, taskId, counter, rounds] = process.argv.slice(2);
const { acquireLockWithRetry } = await import(
  path.join(packageFolder, "dist/orchestrator/src/persistence/lockFile.js")
);
const take = generation === "published" ? acquireLockWithRetry : acquire;

for (let round = 0; round < Number(rounds); round += 1) {
  const lock = await take({
    taskId,
    lockPath: path.join(runsDir, `${taskId}.lock`),
    // More patient than the orchestrator's 5 attempts, so that a busy machine cannot fail the test.
    retry: { maxAttempts: 5000, initialDelayMs: 1, backoffFactor: 2, maxDelayMs: 4, staleMs: 300_000 },
    ensureDirectory: async () => {},
    createError: () => new Error("locked out"),
  });
  const number = Number(fs.readFileSync(counter, "utf8"));
  await sleep(1);
  fs.writeFileSync(counter, String(number + 1));
  const text = fs.existsSync(lock.lockPath) ? fs.readFileSync(lock.lockPath, "utf8") : "";
  if (!text.includes(lock.ownerToken)) throw new Error(`${lock.lockPath} was lost while held`);
  await lock.release();
}
