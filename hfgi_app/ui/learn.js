// Slow methods learn a photo before they can show it: how long that takes is asked first, told meanwhile, and it can be
// called off. Everything else goes on.

const lessons = new Map();  // method -> { seconds } once asked; { seconds, ratio, doing, stop } while it learns
const lessonBlocks = [...root.querySelectorAll("[data-lesson]")];

function spoken(seconds) {
  if (seconds < 90) return `${Math.max(5, 5 * Math.ceil(seconds / 5))} seconds`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} minutes` : `${Math.round(seconds / 3600)} hours`;
}

// The server says that a method has yet to learn the photo. The page goes on with one that has.
function ask({ method, seconds }) {
  if (!lessons.get(method)?.stop) lessons.set(method, { seconds });
  drawLessons();
  if (readRecipe().method !== method) return;
  const ready = past.findLast((recipe) => !lessons.has(recipe.method))?.method ?? untouched().method;
  past = past.map((recipe) => (recipe.method === method ? { ...recipe, method: ready } : recipe));
  past = past.filter((recipe, index) => !same(recipe, past[index - 1]));
  now = Math.min(now, past.length - 1);
  wanted = method;
  writeRecipe({ ...readRecipe(), method: ready });
  change();
}

let wanted = null;  // the method that the hand chose and waits for

async function learn(method) {
  const stop = new AbortController(), { seconds } = lessons.get(method);
  lessons.set(method, { seconds, ratio: 0, doing: "Waiting for its turn", stop });
  drawLessons();
  try {
    const sent = { method: "POST", body: JSON.stringify({ method }), headers: { "X-Visit": visit }, signal: stop.signal };
    const response = await fetch("studio/learn", sent);
    if (!response.ok) throw new Error(await reason(response));
    for await (const { ratio, doing } of told(response)) {
      if (doing) { Object.assign(lessons.get(method) ?? {}, { ratio, doing }); drawLessons(); }
    }
    if (lessons.get(method)?.stop === stop) learnt(method);
  } catch (error) {
    if (lessons.get(method)?.stop !== stop) return;  // called off
    lessons.set(method, { seconds });
    say(sentence(error));
  }
  drawLessons();
}

function learnt(method) {
  lessons.delete(method);
  if (wanted === method) { writeRecipe({ ...readRecipe(), method }); change(); }
  else refreshTiles();
}

function callOff(method) {
  const { seconds, stop } = lessons.get(method);
  lessons.set(method, { seconds });
  stop.abort();
  drawLessons();
}

// Another photo: nobody needs them any more.
function forgetLessons() {
  for (const { stop } of lessons.values()) stop?.abort();
  lessons.clear();
  wanted = null;
  drawLessons();
}

function drawLessons() {
  for (const block of lessonBlocks) {
    const lesson = lessons.get(block.dataset.lesson), button = block.querySelector("button");
    block.hidden = !lesson;
    if (!lesson) continue;
    const text = lesson.stop ? lesson.doing : `${block.dataset.label} learns the photo first: about ${spoken(lesson.seconds)}.`;
    block.querySelector("p").textContent = text;
    block.querySelector("i").hidden = !lesson.stop;
    block.querySelector("b").style.transform = `scaleX(${lesson.ratio ?? 0})`;
    button.textContent = lesson.stop ? "Cancel" : "Start";
  }
}

function wireLessons() {
  for (const block of lessonBlocks) {
    const method = block.dataset.lesson;
    block.querySelector("button").addEventListener("click", () => (lessons.get(method).stop ? callOff(method) : learn(method)));
  }
}
