// The list of sliders: groups that fold, a search across them, favourites on top.

const groups = [...root.querySelectorAll("details.group")];
const isOpen = new Map(groups.map((group) => [group, group.open]));  // as the hand left it: a search opens what it finds

// --- search -----------------------------------------------------------------------------------------------------------

const heading = (group) => group.querySelector("h2").textContent;

function search() {
  const wanted = part("search").value.trim().toLowerCase();
  const isWanted = (text) => text.toLowerCase().includes(wanted);
  for (const group of root.querySelectorAll(".sliders .group")) {
    const some = rows.filter((row) => group.contains(row)), all = isWanted(heading(group));
    for (const row of some) row.hidden = !all && !isWanted(row.prompt ? phrases(row.prompt) : row.querySelector("label").textContent);
    const hasBox = group === part("typed") && !wanted;
    group.hidden = !hasBox && !some.some((row) => !row.hidden);
    if (isOpen.has(group)) group.open = wanted ? true : isOpen.get(group);
  }
  hide("unfound", !wanted || root.querySelector(".sliders .row:not([hidden])") !== null);
}

function leaveSearch(event) {
  if (event.key === "Escape") { part("search").value = ""; search(); part("search").blur(); }
  if (event.key === "Enter") {
    const found = root.querySelector(".sliders .group:not([hidden]) .row:not([hidden])");
    if (found) range(found).focus();
  }
}

// --- favourites -------------------------------------------------------------------------------------------------------

const FAVOURITES = "hfgi-studio.favourites";
const places = new Map(rows.filter((row) => row.querySelector(".star")).map((row, index) => [row, { group: row.parentElement, index }]));

// A store that the browser may refuse or hold nonsense in: then there is nothing, and nothing breaks.
function stored(key) {
  try { return [JSON.parse(localStorage.getItem(key)) ?? []].flat().map(String); } catch { return []; }
}

function store(key, texts) {
  try { localStorage.setItem(key, JSON.stringify(texts)); } catch { /* full, or not allowed: kept until the page closes */ }
}

// A favourite is the row itself on top, not a second one: every slider is on the page once.
function placeRow(row, isFavourite) {
  const { group, index } = places.get(row), home = isFavourite ? part("favourites") : group;
  const next = isFavourite ? null : [...group.querySelectorAll(".row")].find((other) => places.get(other).index > index);
  home.insertBefore(row, next ?? null);
  row.querySelector(".star").setAttribute("aria-pressed", String(isFavourite));
  for (const each of [group, part("favourites")]) markGroup(each);
  search();
}

function toggleFavourite(row) {
  const name = row.dataset.name, others = stored(FAVOURITES).filter((other) => other !== name);
  const isFavourite = row.parentElement !== part("favourites");
  store(FAVOURITES, isFavourite ? [...others, name] : others);
  placeRow(row, isFavourite);
  row.querySelector(".star").focus({ preventScroll: true });
}

function wirePanel() {
  for (const group of groups)
    group.querySelector("summary").addEventListener("click", () => { if (!part("search").value.trim()) isOpen.set(group, !group.open); });
  for (const row of places.keys()) row.querySelector(".star").addEventListener("click", () => toggleFavourite(row));
  for (const name of stored(FAVOURITES)) {
    const row = [...places.keys()].find((each) => each.dataset.name === name);
    if (row) placeRow(row, true);
  }
  part("search").addEventListener("input", search);
  part("search").addEventListener("keydown", leaveSearch);
}
