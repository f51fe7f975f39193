// Hands on the page: pointer, keyboard, files; comparing; and the start.

// --- comparing --------------------------------------------------------------------------------------------------------

function hold(on) {
  canvas.hold(on);
  hide("before", !on && part("wiper").hidden);
  hide("after", on || part("wiper").hidden);
}

function wipe() {
  const on = part("wiper").hidden;
  hide("wiper", !on);
  part("wipe").setAttribute("aria-pressed", String(on));
  canvas.wipeAt(on ? Number(part("wiper").value) : null);
  hold(false);
}

// --- hands ------------------------------------------------------------------------------------------------------------

function wireRow(row) {
  range(row).addEventListener("input", () => { drawRow(row); move(); });
  range(row).addEventListener("change", rest);
  field(row).addEventListener("focus", () => field(row).select());
  field(row).addEventListener("change", () => {
    const value = parseFloat(field(row).value.replace("\u2212", "-").replace(",", "."));
    setRow(row, Number.isFinite(value) ? value : range(row).value);
    change();
  });
  row.querySelector(".home").addEventListener("click", () => { reset([row]); range(row).focus(); });
  row.addEventListener("dblclick", ({ target }) => { if (target !== field(row) && !target.closest(".star")) reset([row]); });
  drawRow(row);
}

function wireRows() {
  rows.forEach(wireRow);
  for (const radio of root.querySelectorAll(".methods input"))
    radio.addEventListener("change", () => { wanted = null; change(); });
}

function wireTools() {
  const click = (name, act) => part(name).addEventListener("click", act);
  click("undo", () => travel(-1));
  click("redo", () => travel(1));
  click("reset", () => reset(rows));
  click("wipe", wipe);
  click("download", download);
  click("forget", forget);
  click("dismiss", () => say(""));
  for (const name of ["open", "choose"]) click(name, () => part("file").click());
  part("wiper").addEventListener("input", () => canvas.wipeAt(Number(part("wiper").value)));
  for (const name of ["hold", "canvas"]) {
    part(name).addEventListener("pointerdown", () => hold(true));
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) part(name).addEventListener(end, () => hold(false));
  }
  for (const button of root.querySelectorAll(".examples button"))
    button.addEventListener("click", () => open({ example: button.dataset.example }));
}

function wireFiles() {
  part("file").addEventListener("change", () => {
    if (part("file").files[0]) open({ file: part("file").files[0] });
    part("file").value = "";
  });
  document.addEventListener("paste", ({ clipboardData }) => clipboardData.files[0] && open({ file: clipboardData.files[0] }));
  document.addEventListener("dragover", (event) => { event.preventDefault(); part("stage").classList.add("dropping"); });
  for (const end of ["dragleave", "drop"]) document.addEventListener(end, () => part("stage").classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) open({ file });
    else say("Drop a picture file, not a link to one.");
  });
}

function wireKeys() {
  const typing = (event) => event.target.matches?.('input[type="text"], input[type="search"], select');
  const pressable = (event) => event.target.closest?.("button:not([data-part='hold']), [type='radio'], summary");
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && isComparing() && !typing(event)) return compare(false);
    if (typing(event)) return;
    const key = event.key.toLowerCase(), command = event.ctrlKey || event.metaKey;
    if (command && key === "z") { event.preventDefault(); travel(event.shiftKey ? 1 : -1); }
    else if (key === "w" && !command && !part("wipe").disabled) wipe();
    else if (key === "c" && !command) compare(!isComparing());
    else if (key === "/" && !part("search").hidden) { event.preventDefault(); part("search").focus(); }
    else if (key === "t" && !command && followsPrompts) { event.preventDefault(); part("target").focus(); }
    else if (key === " " && !pressable(event) && !isComparing()) { event.preventDefault(); hold(true); }
  });
  document.addEventListener("keyup", (event) => { if (event.key === " ") hold(false); });
}

function start() {
  visit = root.dataset.visit;
  wireRows();
  wirePanel();
  wirePrompts();
  wireRecipe();
  wireLessons();
  wireCompare();
  wireTools();
  wireFiles();
  wireKeys();
  addEventListener("pagehide", () => navigator.sendBeacon("studio/close", visit));
  if (WELCOME) open({ example: WELCOME.example }, WELCOME.recipe);
  else { progress(null); showEmpty(); }
}

if (root.dataset.visit) start();
else root.addEventListener("visit", start, { once: true });
