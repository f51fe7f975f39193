// Recipes go out, pictures come back. The newest slider position wins; an older picture never follows a newer one.

function makeLive(post, show, fail) {
  let newest = 0, shown = 0, flying = 0, work = 0, sent = 0, timer = null;
  let waiting = null, whole = null;

  // Live frames while anything moves; the whole picture only once nothing else is under way. The server overtakes
  // what still waits there, so a few requests in flight hide the network and keep the model busy with the newest.
  function pump() {
    clearTimeout(timer);
    if (waiting && flying < 4) {
      const gap = Math.min(60, Math.max(16, work / 3));
      const rest = flying ? sent + gap - performance.now() : 0;
      if (rest > 1) timer = setTimeout(pump, rest);
      else { const recipe = waiting; waiting = null; sent = performance.now(); send("frame", recipe); }
    } else if (whole && !waiting && !flying) {
      const recipe = whole; whole = null; send("picture", recipe);
    }
  }

  async function send(kind, { sequence, recipe }) {
    flying++;
    try {
      const response = await post(kind, { sequence, recipe });
      if (response.status === 204) return;  // newer work overtook it on the server
      work = Number(response.headers.get("Server-Timing")?.split("=")[1]) || work;
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

  return {
    move(recipe) { waiting = { sequence: ++newest, recipe }; whole = null; pump(); },
    settle(recipe) { whole = { sequence: ++newest, recipe }; pump(); },
    // Whatever is still on its way comes too late. Gives the number of this moment.
    drop() { waiting = whole = null; return (shown = ++newest); },
  };
}
