// Recipes go out, pictures come back. The newest slider position wins; an older picture never follows a newer one.

function makeLive(post, show, fail) {
  let newest = 0, shown = 0, flying = 0, depth = 1, pace = 0, sent = 0, timer = null;
  let waiting = null, whole = null;

  // Live frames while anything moves; the whole picture only once nothing else is under way.
  function pump() {
    clearTimeout(timer);
    if (waiting && flying < depth) {
      const rest = flying ? sent + pace - performance.now() : 0;
      if (rest > 1) timer = setTimeout(pump, rest);
      else { const recipe = waiting; waiting = null; sent = performance.now(); send("frame", recipe); }
    } else if (whole && !waiting && !flying) {
      const recipe = whole; whole = null; send("picture", recipe);
    }
  }

  async function send(kind, { sequence, recipe }) {
    const started = performance.now();
    flying++;
    try {
      const response = await post(kind, { sequence, recipe });
      if (response.status === 204) return;  // newer work overtook it on the server
      measure(response.headers.get("Server-Timing"), performance.now() - started);
      const bitmap = await createImageBitmap(await response.blob());
      if (sequence > shown) { shown = sequence; show(kind, bitmap, sequence === newest); }
      bitmap.close();
    } catch (error) {
      if (sequence >= shown) fail(error);
    } finally {
      flying--;
      pump();
    }
  }

  // Enough requests in flight to hide the network and no more: every answer tells how long the model took.
  function measure(timing, elapsed) {
    const [wait, work] = [...(timing ?? "").matchAll(/dur=([\d.]+)/g)].map((found) => Number(found[1]));
    if (!work) return;
    pace = work;
    depth = Math.min(4, 1 + Math.round(Math.max(0, elapsed - wait - work) / work));
  }

  return {
    move(recipe) { waiting = { sequence: ++newest, recipe }; whole = null; pump(); },
    settle(recipe) { whole = { sequence: ++newest, recipe }; pump(); },
    // Whatever is still on its way comes too late. Gives the number of this moment.
    drop() { waiting = whole = null; return (shown = ++newest); },
  };
}
