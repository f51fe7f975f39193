// Typed prompts: what is written becomes a slider of its own, its range measured on the photo that is open.

const HISTORY = "hfgi-studio.prompts", REMEMBERED = 8;
const followsPrompts = part("typed") !== null;
let measured = new Map();  // of the photo that is open: prompt -> what the server says of it
let changesRound = 0;

// --- prompts as text --------------------------------------------------------------------------------------------------

const phrases = ({ neutral, target }) => `${neutral} -> ${target}`;
const written = (prompt) => phrases(prompt) + (prompt.beta === null ? "" : ` @ ${prompt.beta}`);
const rowOf = (prompt) => typedRows().find((row) => phrases(row.prompt).toLowerCase() === phrases(prompt).toLowerCase());

// As people write it: two fields, or all of it in one.
function typedIn(neutral, target) {
  const text = [target, neutral].map((each) => each.replaceAll("\u2192", "->")).find((each) => each.includes("->"));
  if (text === undefined) return { neutral, target, beta: null };
  const [before, ...after] = text.split("->");
  return { neutral: before, target: after.join("->"), beta: null };
}

// As recipes hold it: "NEUTRAL -> TARGET = STRENGTH [@ BETA]".
function readPrompt(text) {
  const [sides, numbers] = text.split("="), [neutral, target] = sides.split("->").map((each) => each.trim());
  const [strength, beta = null] = numbers.split("@").map(Number);
  return { neutral, target, strength, beta };
}

function readPrompts() {
  const used = typedRows().filter((row) => Number(range(row).value));
  return used.map((row) => {
    const [sides, beta] = written(row.prompt).split(" @ ");
    return `${sides} = ${Number(range(row).value)}${beta ? ` @ ${beta}` : ""}`;
  }).sort();
}

// Prompts of a recipe whose rows are gone come back: all of them were measured before.
function writePrompts(texts) {
  const prompts = texts.map(readPrompt);
  for (const row of typedRows()) setRow(row, 0);
  for (const { strength, ...prompt } of prompts) {
    const found = measured.get(written(prompt)), row = rowOf(prompt) ?? makeRow(found);
    if (row.prompt.beta !== prompt.beta) fit(row, found);
    setRow(row, strength);
  }
}

// --- their sliders ----------------------------------------------------------------------------------------------------

const typedRows = () => rows.filter((row) => row.prompt);
const inBlock = (row, selector) => row.parentElement.querySelector(selector);
const strictness = (row) => inBlock(row, ".strict input");

async function measure({ neutral, target, beta }) {
  const mine = measured, name = written({ neutral, target, beta });
  if (!mine.has(name)) {
    const found = await (await post("typed", { neutral, target, beta })).json();
    const prompt = { neutral: found.prompt.neutral, target: found.prompt.target, beta };  // without spaces too many
    const known = { ...found, prompt, usual: found.prompt.beta };
    for (const each of [name, written(prompt)]) mine.set(each, known);
  }
  return mine === measured ? mine.get(name) : measure({ neutral, target, beta });  // another photo came in between
}

function makeRow(found) {
  const block = part("typed-slider").content.firstElementChild.cloneNode(true), row = block.querySelector(".row");
  const { neutral, target } = found.prompt, name = phrases(found.prompt);
  row.prompt = found.prompt;
  row.dataset.name = range(row).id = row.querySelector("label").htmlFor = name;
  block.querySelector(".phrase span").textContent = `${neutral} \u2192 ${target}`;
  const labels = { ".remove": `Remove ${target}`, ".home": `Reset ${target}`, ".strict input": `${target}, only this` };
  for (const [selector, label] of Object.entries(labels)) block.querySelector(selector).ariaLabel = label;
  range(row).ariaLabel = `${target}, strength`;
  field(row).ariaLabel = `${target}, strength, value`;
  part("typed-sliders").append(block);
  rows.push(row);
  wireRow(row);
  wireTyped(row);
  fit(row, found);
  drawTyped();
  return row;
}

function wireTyped(row) {
  let waiting = null;
  inBlock(row, ".remove").addEventListener("click", () => removeRow(row));
  strictness(row).addEventListener("input", () => drawStrictness(row));
  strictness(row).addEventListener("change", () => {
    clearTimeout(waiting);  // keys change it many times
    waiting = setTimeout(() => tighten(row, Math.floor(1e4 * strictness(row).value * row.found.strictest) / 1e4), 200);
  });
  inBlock(row, ".strict").addEventListener("dblclick", () => { clearTimeout(waiting); tighten(row, null); });
}

function drawTyped() {
  part("count").textContent = typedRows().length || "";
  markGroup(part("typed"));
  search();
}

// What was measured goes into the row; its strength stays where the range has room for it.
function fit(row, found) {
  const { low, high, step } = found.slider;
  Object.assign(row, { found, prompt: found.prompt, asked: null });
  Object.assign(range(row), { min: low, max: high, step });
  strictness(row).value = (found.prompt.beta ?? found.usual) / found.strictest;
  free(row, "");
  drawStrictness(row);
  drawRow(row);
}

// A row waits for its measures, or the photo cannot follow it: why.
function free(row, refusal, isFree = !refusal) {
  for (const input of row.parentElement.querySelectorAll("input")) input.disabled = !isFree;
  const line = inBlock(row, ".refusal");
  line.textContent = refusal;
  line.hidden = !refusal;
}

function drawStrictness(row) {
  const track = strictness(row), usual = row.found.usual / row.found.strictest, at = Number(track.value);
  track.style.setProperty("--zero", usual);
  track.style.setProperty("--from", Math.min(at, usual));
  track.style.setProperty("--to", Math.max(at, usual));
  const { channels } = row.found, text = channels === 1 ? "1 channel" : `${channels} channels`;
  inBlock(row, "output").textContent = text;
  track.setAttribute("aria-valuetext", `moves ${text} of style`);
}

async function tighten(row, beta) {
  const asked = (row.asked = { ...row.prompt, beta });
  try {
    const found = await measure(asked);
    if (row.asked !== asked || !row.isConnected) return;
    fit(row, found);
    change();
  } catch (error) {
    if (row.asked === asked) { fit(row, row.found); refuse(sentence(error)); }
  }
}

function removeRow(row) {
  const was = Number(range(row).value);
  rows.splice(rows.indexOf(row), 1);
  row.parentElement.remove();
  drawTyped();
  if (was) change();
  part("target").focus();
}

// Another photo: the rows stay, and each is measured on it.
async function remeasure() {
  const mine = (measured = new Map());
  for (const row of typedRows()) free(row, "", false);
  for (const row of typedRows()) {
    try {
      const found = await measure(row.prompt);
      if (mine === measured) fit(row, found);
    } catch (error) {
      if (mine === measured) free(row, `Not on this photo: ${sentence(error)}`);
    }
  }
}

// --- the box ----------------------------------------------------------------------------------------------------------

function refuse(text) {
  part("refusal").textContent = text;
  hide("refusal", !text);
}

async function add(prompt) {
  if (part("prompt").ariaBusy === "true") return;
  if (typedRows().length >= PROMPTS && !rowOf(prompt)) return refuse(`${PROMPTS} typed prompts are the most; remove one first.`);
  part("prompt").ariaBusy = "true";
  refuse("");
  try {
    const found = await measure(prompt), row = rowOf(found.prompt) ?? makeRow(found);
    remember(phrases(found.prompt));
    part("target").value = "";
    if (!Number(range(row).value)) { setRow(row, found.slider.high / 2); change(); }
    range(row).focus();
  } catch (error) {
    refuse(sentence(error));
  } finally {
    part("prompt").ariaBusy = "false";
  }
}

function remember(text) {
  store(HISTORY, [text, ...stored(HISTORY).filter((other) => other !== text)].slice(0, REMEMBERED));
  drawIdeas();
}

// What this browser typed before, then examples.
function drawIdeas() {
  const recent = stored(HISTORY).filter((text) => text.includes("->")).slice(0, REMEMBERED);
  const chips = [...recent, ...IDEAS.filter((text) => !recent.includes(text))].map((text) => {
    const prompt = typedIn("", text);
    return link(text.replace(/^face -> /, "").replace("->", "\u2192"), text, () => add(prompt));
  });
  const forget = link("Clear history", "Forget what was typed in this browser", () => { store(HISTORY, []); drawIdeas(); });
  forget.className = "link";
  part("ideas").replaceChildren(...chips, ...(recent.length ? [forget] : []));
}

function link(text, title, act) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: text, title });
  button.addEventListener("click", act);
  return button;
}

// --- what else changed ------------------------------------------------------------------------------------------------

const SAID = 4;  // of what was not asked for, the most

function forgetChanges() {
  changesRound++;
  if (followsPrompts) part("changes").classList.add("stale");
}

async function drawChanges() {
  if (!followsPrompts) return;
  const mine = ++changesRound, recipe = readRecipe(), asked = recipe.prompts.length;
  if (!asked) return hide("changes", true);
  try {
    const changes = await (await post("changes", { recipe })).json();
    if (mine !== changesRound) return;
    part("changed").replaceChildren(...changes.slice(0, asked + SAID).map((change, index) => changeLine(change, index < asked)));
    part("changes").classList.remove("stale");
    hide("changes", !changes.length);
  } catch {
    if (mine === changesRound) hide("changes", true);  // the picture itself said why
  }
}

function changeLine({ label, amount }, isAsked) {
  const line = document.createElement("li"), [name, bar, value] = ["span", "i", "span"].map((each) => document.createElement(each));
  name.textContent = name.title = label;
  value.textContent = `${amount < 0 ? "\u2212" : "+"}${Math.round(100 * Math.abs(amount))}%`;
  bar.style.setProperty("--amount", Math.max(-1, Math.min(1, amount)));
  line.classList.toggle("asked", isAsked);
  line.append(name, bar, value);
  return line;
}

function wirePrompts() {
  if (!followsPrompts) return;
  part("prompt").addEventListener("submit", (event) => {
    event.preventDefault();
    add(typedIn(part("neutral").value, part("target").value));
  });
  for (const name of ["neutral", "target"]) part(name).addEventListener("input", () => refuse(""));
  drawIdeas();
}
