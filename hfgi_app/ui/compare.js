// All methods side by side on one recipe; a wipe between any two; and where the two differ.

const tiles = new Map([...root.querySelectorAll("[data-tile]")].map((tile) => [tile.dataset.tile, tile]));
const tileCanvas = (name) => tiles.get(name).querySelector("canvas");
const isComparing = () => !part("compare").hidden;
const isReady = (name) => tiles.get(name).classList.contains("ready");
let tileRound = 0;

function compare(on) {
  if (on === isComparing() || (on && part("picture").hidden)) return;
  hide("compare", !on);
  root.dataset.comparing = String(on);
  if (on && part("left").value === part("right").value) part("right").value = readRecipe().method;
  drawTools();
  if (on) { hide("hint", true); layTiles(); view("grid"); refreshTiles(); }
}

// One tile after the other, so that live frames and other visitors come between.
async function refreshTiles() {
  if (!isComparing()) return;
  const mine = ++tileRound, recipe = readRecipe();
  root.dataset.compared = "false";
  markTiles(() => true);
  for (const name of tiles.keys()) {
    const bitmap = await fetchTile(name ? { ...recipe, method: name } : untouched(), mine);
    if (mine !== tileRound) return;
    tiles.get(name).classList.toggle("ready", bitmap !== null);
    if (bitmap) drawTile(name, bitmap);
    tiles.get(name).classList.remove("stale");
    drawPair();
  }
  root.dataset.compared = "true";
}

async function fetchTile(recipe, round) {
  try {
    return await createImageBitmap(await (await post("tile", { recipe })).blob());
  } catch (error) {
    if (round === tileRound) fail(error);
    return null;
  }
}

function drawTile(name, bitmap) {
  const canvas = tileCanvas(name);
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
}

// While a slider moves the method in use follows, and the others wait for the hand to rest.
function moveTiles(bitmap) {
  const { method } = readRecipe();
  tileRound++;
  drawTile(method, bitmap);
  markTiles((name) => name && name !== method);
  drawPair();
}

function markTiles(isStale) {
  const { method } = readRecipe();
  for (const [name, tile] of tiles) {
    tile.classList.toggle("stale", Boolean(isStale(name)));
    tile.querySelector("figcaption button")?.setAttribute("aria-pressed", String(name === method));
  }
}

// As large as they fit all together; but never so small that nothing is seen: then they scroll.
function layTiles() {
  const { clientWidth: wide, clientHeight: high } = part("tiles"), caption = 32, gap = 16, least = 104, count = tiles.size;
  const across = (columns) => (wide - gap * (columns - 1)) / columns;
  const side = (columns) => {
    const lines = Math.ceil(count / columns);
    return Math.min(across(columns), (high - gap * (lines - 1)) / lines - caption);
  };
  const best = Array.from(tiles.keys(), (_, index) => index + 1).reduce((one, other) => (side(other) > side(one) ? other : one));
  const fits = side(best) >= least, columns = fits ? best : Math.max(1, Math.floor((wide + gap) / (least + gap)));
  part("tiles").style.setProperty("--columns", columns);
  part("tiles").style.setProperty("--side", `${Math.floor(fits ? side(best) : across(columns))}px`);
}

// --- two of them ------------------------------------------------------------------------------------------------------

function view(name) {
  for (const button of root.querySelectorAll("[data-view]")) button.setAttribute("aria-pressed", String(button.dataset.view === name));
  hide("tiles", name !== "grid");
  for (const each of ["pair", "sides"]) hide(each, name === "grid");
  for (const each of ["between", "named-left", "named-right"]) hide(each, name !== "wipe");
  part("pair").dataset.view = name;
  drawPair();
}

function drawPair() {
  for (const side of ["left", "right"])
    for (const option of part(side).options) option.disabled = !isReady(option.value);
  const names = ["left", "right"].map((side) => part(side).value);
  if (part("pair").hidden || !names.every(isReady)) return;
  const [one, other] = names.map(tileCanvas), canvas = part("paired");
  [canvas.width, canvas.height] = [one.width, one.height];
  part("words").textContent = part("pair").dataset.view === "wipe" ? wipePair(canvas, one, other) : differ(canvas, one, other);
}

function wipePair(canvas, one, other) {
  const pen = canvas.getContext("2d"), at = Number(part("between").value);
  for (const side of ["left", "right"]) part(`named-${side}`).textContent = part(side).selectedOptions[0].textContent;
  pen.drawImage(other, 0, 0);
  if (at > 0) pen.drawImage(one, 0, 0, one.width * at, one.height, 0, 0, one.width * at, one.height);
  return "";
}

const SEEN = 0.995;  // this part of the pixels stays below white: a few wild ones must not darken all others
const MOST = 32;  // times: what is stretched further is noise

// The mean absolute difference of the three colours, stretched to what can be seen. Gives it in words.
function differ(canvas, one, other) {
  const [a, b] = [one, other].map((each) => each.getContext("2d").getImageData(0, 0, each.width, each.height).data);
  const levels = new Float32Array(a.length / 4);
  for (let i = 0; i < levels.length; i++)
    levels[i] = (Math.abs(a[4 * i] - b[4 * i]) + Math.abs(a[4 * i + 1] - b[4 * i + 1]) + Math.abs(a[4 * i + 2] - b[4 * i + 2])) / 3;
  const sorted = levels.slice().sort(), most = sorted.at(-1);
  const times = Math.max(1, Math.min(MOST, Math.round(255 / Math.max(1, sorted[Math.floor(SEEN * (sorted.length - 1))]))));
  const shown = new ImageData(one.width, one.height);
  levels.forEach((level, i) => shown.data.set(heat(level * times / 255), 4 * i));
  canvas.getContext("2d").putImageData(shown, 0, 0);
  if (most === 0) return "The two are the same to the last bit.";
  const mean = levels.reduce((sum, level) => sum + level, 0) / levels.length;
  const stretched = times > 1 ? `, shown ${times} times as strong` : "";
  return `Bright where the two differ${stretched}: by ${mean.toFixed(1)} of 255 levels on average, by ${Math.round(most)} at most.`;
}

// Black, amber, white.
function heat(part) {
  return [3 * part, 2 * part - 0.35, 3 * part - 2].map((each) => 255 * each).concat(255);
}

function wireCompare() {
  part("shootout").addEventListener("click", () => compare(!isComparing()));
  part("leave").addEventListener("click", () => { compare(false); part("shootout").focus(); });
  for (const button of root.querySelectorAll("[data-view]")) button.addEventListener("click", () => view(button.dataset.view));
  for (const name of ["left", "right"]) part(name).addEventListener("change", drawPair);
  part("between").addEventListener("input", drawPair);
  for (const [name, tile] of tiles)
    tile.querySelector("figcaption button")?.addEventListener("click", () => { writeRecipe({ ...readRecipe(), method: name }); change(); });
  new ResizeObserver(() => isComparing() && layTiles()).observe(part("stage"));
}
