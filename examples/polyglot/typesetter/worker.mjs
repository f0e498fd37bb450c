// Works the flow typeset, with the published client of pgflow. It finds the
// database in PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE, and ends with its
// standard input.
import { randomUUID } from "node:crypto";
import { PgflowSqlClient } from "@pgflow/core";
import postgres from "postgres";

const flow = "typeset";
const hidden = 30; // seconds in which a message that was read must be started

// Handlers of the steps. A first step is given the flow's input, any other an
// object with the outputs of the steps that it waits for.
const handlers = {
  render({ title, text }) {
    if (!title) throw new Error("the article has no title");
    const escape = (s) => s.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
    const blocks = text.split(/\n\s*\n/).map((block) => block.trim()).filter(Boolean);
    const body = blocks.map((b) => (b.startsWith("# ") ? `<h2>${escape(b.slice(2))}</h2>` : `<p>${escape(b)}</p>`)).join("\n");
    return { body: `<h1>${escape(title)}</h1>\n${body}`, words: text.match(/\w+/g)?.length ?? 0 };
  },
  outline({ text }) {
    return [...text.matchAll(/^# (.*)$/gm)].map((match) => match[1]);
  },
  page({ render, outline }) {
    return { html: render.body, headings: outline, words: render.words };
  },
};

const sql = postgres({ max: 4, onnotice: () => {} });
const client = new PgflowSqlClient(sql);
const worker = randomUUID();
let stopping = false;
process.stdin.on("end", () => { stopping = true; }).resume();

async function work(task) {
  try {
    const input = Object.keys(task.input).length ? task.input : task.flow_input;
    await client.completeTask(task, handlers[task.step_slug](input));
  } catch (error) {
    await client.failTask(task, error);
  }
}

// So the worker is seen by flowc workers and on the dashboard.
await sql`INSERT INTO pgflow.workers (worker_id, queue_name, function_name) VALUES (${worker}, ${flow}, 'typesetter (Node)')`;
const heart = setInterval(() => {
  sql`UPDATE pgflow.workers SET last_heartbeat_at = now() WHERE worker_id = ${worker}`.catch(console.error);
}, 2000);
console.log("ready");

while (!stopping) {
  const messages = await client.readMessages(flow, hidden, 10, 1, 50);
  if (messages.length === 0) continue;
  const tasks = await client.startTasks(flow, messages.map((message) => message.msg_id), worker);
  await Promise.all(tasks.map(work));
}

clearInterval(heart);
await sql`SELECT pgflow.mark_worker_stopped(${worker})`;
await sql.end();
