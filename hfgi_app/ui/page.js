// The page: sliders, history, opening photos, downloading. `element` is what Gradio gives its HTML component.

const root = element.querySelector("#studio");
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const rows = [...root.querySelectorAll(".row")];
const canvas = makeCanvas(part("canvas"));
const live = makeLive(post, show, fail);
let visit = "", source = null, opening = null, returning = null, resting = null;
let past = [], now = -1;

const hide = (name, on) => { part(name).hidden = on; };
const say = (text) => { part("message").textContent = text; hide("alert", !text); };

// --- the server -------------------------------------------------------------------------------------------------------

async function post(path, fields, again = true) {
  const response = await fetch(`studio/${path}`, { method: "POST", body: fields instanceof Blob ? fields : JSON.stringify(fields), headers: { "X-Visit": visit } });
  if (response.status === 410 && again && source) {  // put away while the page slept: hand the photo in again
    await (returning ??= read(source).finally(() => { returning = null; progress(null); }));
    return post(path, fields, false);
  }
  if (response.status === 202) throw Object.assign(new Error("A method has yet to learn the photo."), { unready: await response.json() });
  if (!response.ok) throw new Error(await reason(response));
  return response;
}

function fail(error) {
  if (error.unready) ask(error.unready);
  else say(sentence(error));
}

// What the server tells line by line; its message where it could not go on.
async function* told(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();  // Safari cannot loop over a stream
  for (let text = "", chunk; !(chunk = await reader.read()).done; ) {
    const lines = (text + chunk.value).split("\n");
    text = lines.pop();
    for (const line of lines.map((each) => JSON.parse(each))) {
      if (line.message) throw new Error(line.message);
      yield line;
    }
  }
}

async function reason(response) {
  const fields = await response.json().catch(() => ({}));
  return fields.message ?? "The studio gave no answer; reload the page.";
}

const sentence = (error) => (error instanceof TypeError ? "The studio cannot be reached; check the connection." : error.message);

// --- recipes and rows -------------------------------------------------------------------------------------------------

const range = (row) => row.querySelector('input[type="range"]');
const field = (row) => row.querySelector('input[type="text"]');
const home = (row) => Number(row.dataset.home);
const untouched = () => ({ method: root.querySelector(".methods input").value });
const isIdentity = ({ strengths, prompts }) => !Object.keys(strengths).length && !prompts.length;
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

function readRecipe() {
  const fixed = rows.filter((row) => !row.prompt);
  const values = Object.fromEntries(fixed.map((row) => [row.dataset.name, Number(range(row).value)]));
  const { keep, ...strengths } = values;
  for (const name in strengths) if (!strengths[name]) delete strengths[name];
  return { strengths, prompts: readPrompts(), method: root.querySelector(".methods :checked").value, keep };
}

function writeRecipe({ strengths, prompts, method, keep }) {
  const values = { ...strengths, keep };
  for (const row of rows) if (!row.prompt) setRow(row, values[row.dataset.name] ?? 0);
  writePrompts(prompts);
  for (const radio of root.querySelectorAll(".methods input")) radio.checked = radio.value === method;
}

function setRow(row, value) {
  range(row).value = value;
  drawRow(row);
}

function drawRow(row) {
  const track = range(row), [low, high, value] = [track.min, track.max, track.value].map(Number);
  const at = (number) => (number - low) / (high - low);
  track.style.setProperty("--zero", at(home(row)));
  track.style.setProperty("--from", at(Math.min(value, home(row))));
  track.style.setProperty("--to", at(Math.max(value, home(row))));
  track.setAttribute("aria-valuetext", (field(row).value = format(row, value)));
  row.classList.toggle("edited", value !== home(row));
  markGroup(row.closest(".group"));
}

function markGroup(group) {
  group?.classList.toggle("edited", group.querySelector(".row.edited") !== null);
}

function format(row, value) {
  const decimals = (range(row).step.split(".")[1] ?? "").length;
  const sign = value < 0 ? "\u2212" : value > 0 && home(row) === 0 ? "+" : "";
  return sign + Math.abs(value).toFixed(decimals) + row.dataset.unit;
}

// --- editing ----------------------------------------------------------------------------------------------------------

// A slider moves: a live frame. `rest` follows when the hand lets go.
function move() {
  const recipe = readRecipe();
  clearTimeout(resting);
  root.dataset.sharp = "false";
  hide("hint", true);
  say("");
  forgetChanges();
  if (isIdentity(recipe)) original();
  else live.move(recipe);
  drawTools();
}

// The hand rests: one step of history, and the whole picture at full size.
function rest() {
  clearTimeout(resting);
  resting = setTimeout(() => {
    const recipe = readRecipe();
    if (!same(recipe, past[now])) { past = [...past.slice(0, now + 1), recipe]; now++; }
    if (!isIdentity(recipe)) live.settle(recipe);
    refreshTiles();
    drawTools();
  }, 120);
}

function change() { move(); rest(); }

function original() {
  live.drop();
  canvas.original();
  root.dataset.sharp = "true";
  drawChanges();
}

function show(kind, bitmap, isNewest) {
  if (kind === "frame" && isComparing()) moveTiles(bitmap);
  if (kind === "frame") return canvas.frame(bitmap);
  canvas.whole(bitmap);
  root.dataset.sharp = String(isNewest);
  if (isNewest) drawChanges();
}

function travel(steps) {
  if (!past[now + steps]) return;
  now += steps;
  writeRecipe(past[now]);
  change();
}

function reset(some) {
  for (const row of some) setRow(row, home(row));
  change();
}

function drawTools() {
  const empty = part("picture").hidden;
  part("undo").disabled = now <= 0;
  part("redo").disabled = now >= past.length - 1;
  part("reset").disabled = !root.querySelector(".row.edited");
  for (const name of ["download", "use", "forget"]) part(name).disabled = empty;
  for (const name of ["wipe", "hold"]) part(name).disabled = empty || isComparing();
  part("inspector").inert = empty || opening !== null;
}

// --- photos -----------------------------------------------------------------------------------------------------------

// what: {file} or {example}; and {face} where one was picked of the photo that is open: that one the server has, and
// only where it was put away meanwhile does it go there again. The old photo stays until the new one is ready.
async function open(what, recipe = null) {
  if (what.file?.size > LIMIT) return say(`The photo is larger than ${LIMIT / 2 ** 20} MB; save a smaller copy of it.`);
  opening?.abort();
  const mine = (opening = new AbortController());
  drawTools();
  say("");
  try {
    const photo = await read(what, mine.signal);
    const response = await post("picture", { sequence: live.drop(), recipe: untouched() }, false);
    const bitmap = await createImageBitmap(await response.blob());
    if (mine !== opening) return;
    source = { ...what, isOpen: false };
    place(photo, bitmap, recipe);
  } catch (error) {
    if (mine === opening) say(sentence(error));
  } finally {
    if (mine === opening) { opening = null; progress(null); drawTools(); }
  }
}

// Send a photo and follow what the server says it is doing. Gives its face square, or throws one sentence.
async function read({ file, example, face, isOpen = false }, signal) {
  progress(0, file && !isOpen ? "Sending the photo" : "Opening the photo");
  const fields = isOpen ? { kept: true, face } : { example, face };
  const query = new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== undefined));
  const sent = { method: "POST", body: isOpen ? undefined : file, headers: { "X-Visit": visit }, signal };
  const response = await fetch(`studio/open?${query}`, sent);
  if (response.status === 410 && isOpen) return read({ file, example, face }, signal);
  if (!response.ok) throw new Error(await reason(response));
  for await (const { ratio, doing, photo } of told(response)) {
    if (photo) return photo;
    progress(ratio, doing);
  }
  throw new Error("The photo did not arrive whole; open it again.");
}

function place(photo, bitmap, recipe) {
  clearTimeout(resting);
  live.drop();
  forgetLessons();
  part("picture").style.setProperty("--wide", photo.width);
  part("picture").style.setProperty("--high", photo.height);
  canvas.open(bitmap, photo.quad);
  hide("picture", false);
  hide("empty", true);
  hide("hint", !recipe);
  drawFaces(photo);
  for (const button of root.querySelectorAll(".examples button"))
    button.setAttribute("aria-pressed", String(button.dataset.example === source.example));
  writeRecipe(recipe ?? { ...readRecipe(), strengths: {}, prompts: [] });
  past = [readRecipe()];
  now = 0;
  remeasure();
  drawChanges();
  if (recipe) live.settle(recipe);
  root.dataset.sharp = String(!recipe);
  drawTools();
  refreshTiles();
}

function drawFaces({ faces, face }) {
  hide("faces", faces < 2);
  const caption = document.createElement("span");
  caption.textContent = "Face";
  const buttons = Array.from({ length: faces }, (_, index) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: index + 1, title: `Edit face ${index + 1}, counted from the left` });
    button.setAttribute("aria-pressed", String(index === face));
    button.onclick = () => open({ ...source, face: index, isOpen: true });
    return button;
  });
  part("faces").replaceChildren(caption, ...buttons);
}

function progress(ratio, doing = "") {
  hide("progress", ratio === null);
  part("doing").textContent = doing;
  part("done").style.transform = `scaleX(${Math.max(0.04, ratio ?? 0)})`;
  root.setAttribute("aria-busy", String(ratio !== null));
}

async function forget() {
  await fetch("studio/close", { method: "POST", body: visit, keepalive: true });
  opening?.abort();
  source = opening = null;
  progress(null);
  say("");
  canvas.clear();
  showEmpty();
}

function showEmpty() {
  for (const row of rows) setRow(row, home(row));
  clearTimeout(resting);
  live.drop();
  forgetLessons();
  compare(false);
  past = [];
  now = -1;
  for (const name of ["picture", "faces", "hint"]) hide(name, true);
  hide("empty", false);
  if (!part("wiper").hidden) wipe();
  for (const button of root.querySelectorAll(".examples button")) button.setAttribute("aria-pressed", "false");
  drawTools();
}

async function download() {
  progress(0.5, "Preparing the picture at full size");
  try {
    const picture = await (await post("export", { recipe: readRecipe() })).blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(picture);
    link.download = `${(source.file?.name ?? "example").replace(/\.[^.]*$/, "")}-edited.png`;
    link.click();
    setTimeout(URL.revokeObjectURL, 60000, link.href);
  } catch (error) {
    say(sentence(error));
  } finally {
    progress(null);
  }
}
