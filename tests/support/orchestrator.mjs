// An orchestrator beside a batch: the published package records runs into tasks, one after the other.
//
// node orchestrator.mjs PACKAGE OUT_DIR RUNS_DIR [--owner-records] [--hold] [--attempts N] < runs.jsonl > report.json
//
// Its PersistenceCoordinator gets each run as an event. The report lists which runs' snapshots were recorded and
// when, which were locked out, and whose locks were found broken at their release; any other failure ends the program.
// --owner-records: take the lock as newer orchestrators do. --hold: keep the lock until the input ends.
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";
import { LockedOut, acquire } from "./owner_lock.mjs";

const [packageFolder, outDir, runsDir, ...flags] = process.argv.slice(2);
const load = (name) => import(path.join(packageFolder, "dist/orchestrator/src", name));
const { EventBus } = await load("events/EventBus.js");
const { PersistenceCoordinator } = await load("persistence/PersistenceCoordinator.js");
const { RunManifestWriter } = await load("persistence/RunManifestWriter.js");
const { TaskStateStore, TaskStateStoreLockError } = await load("persistence/TaskStateStore.js");

const report = { recorded: [], lockedOut: [], broken: [] };
const released = flags.includes("--hold") ? once(process.stdin, "end") : null;
const maxAttempts = flags.includes("--attempts") ? Number(flags[flags.indexOf("--attempts") + 1]) : undefined;

class WatchedStore extends TaskStateStore {
  async acquireLock(taskId, lockPath) {
    const lock = flags.includes("--owner-records")
      ? await this.ensureDirectory(runsDir).then(() => acquire({ taskId, lockPath, retry: this.lockRetry }))
      : await super.acquireLock(taskId, lockPath);
    await released;
    return lock;
  }

  async releaseLock(lock) {
    const text = fs.existsSync(lock.lockPath) ? fs.readFileSync(lock.lockPath, "utf8") : "";
    if (!text.includes(lock.ownerToken)) report.broken.push(path.basename(lock.lockPath, ".lock"));
    await super.releaseLock(lock);
  }
}

// The coordinator awaits both sides, but nobody awaits the coordinator: each side's end is seen here.
let sides;
const watched = (write) => (run) => {
  const result = write(run);
  sides.push(result);
  return result;
};
const store = new WatchedStore({ outDir, runsDir, lockRetry: { maxAttempts } });
const writer = new RunManifestWriter({ runsDir });
const bus = new EventBus();
const onError = () => {};
new PersistenceCoordinator(
  bus,
  { recordRun: watched((run) => store.recordRun(run)) },
  { write: watched((run) => writer.write(run)) },
  { onError },
).start();

for await (const line of readline.createInterface({ input: process.stdin })) {
  const run = JSON.parse(line);
  sides = [];
  bus.emit({ type: "run:completed", payload: run });
  const [snapshot, manifest] = await Promise.allSettled(sides);
  if (manifest.status === "rejected") throw manifest.reason;
  if (snapshot.status === "fulfilled") {
    report.recorded.push([run.taskId, run.runId, new Date().toISOString()]);
  } else if (snapshot.reason instanceof TaskStateStoreLockError || snapshot.reason instanceof LockedOut) {
    report.lockedOut.push([run.taskId, run.runId]);
  } else {
    throw snapshot.reason;
  }
}
console.log(JSON.stringify(report));
