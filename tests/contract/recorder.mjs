// Records runs as the published orchestrator does: node recorder.mjs PACKAGE. Each line of its input names an out-dir,
// a runs-dir and the texts of events and runs in a log; each line of its output is the number of failed sides.
import path from "node:path";
import readline from "node:readline";

const load = (name) => import(path.join(process.argv[2], "dist/orchestrator/src/persistence", name));
const { RunManifestWriter } = await load("RunManifestWriter.js");
const { TaskStateStore } = await load("TaskStateStore.js");

async function record({ outDir, runsDir, lines }) {
  const sides = [new TaskStateStore({ outDir, runsDir }), new RunManifestWriter({ runsDir })];
  let failed = 0;
  for (const line of lines) {
    const value = JSON.parse(line);
    const isEvent = value.type !== undefined && value.payload !== undefined;
    if (isEvent && value.type !== "run:completed") continue;
    const run = isEvent ? value.payload : value;
    const settled = await Promise.allSettled([sides[0].recordRun(run), sides[1].write(run)]);
    failed += settled.filter(({ status }) => status === "rejected").length;
  }
  return failed;
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await record(JSON.parse(line)))}\n`);
}
