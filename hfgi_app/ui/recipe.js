// A recipe from elsewhere: out of an edited picture, or of a JSON file, used on the photo that is open.

async function useRecipe(file) {
  if (file.size > LIMIT) return say(`The file is larger than ${LIMIT / 2 ** 20} MB; it is no recipe.`);
  progress(0.5, "Reading the recipe");
  try {
    const recipe = await (await post("recipe", file)).json(), left = [];
    const usable = await usablePart(recipe, left);
    wanted = null;
    writeRecipe(usable);
    change();
    if (left.length) say(`The rest of the recipe is in use; on this photo the model cannot follow: ${left.join(", ")}.`);
  } catch (error) {
    say(sentence(error));
  } finally {
    progress(null);
  }
}

// What this model and photo can follow; the names of all else go to `left`.
async function usablePart({ strengths, prompts, method, keep }, left) {
  const names = new Set(rows.filter((row) => !row.prompt).map((row) => row.dataset.name)), usable = { strengths: {}, prompts: [], keep };
  for (const [name, strength] of Object.entries(strengths)) names.has(name) ? (usable.strengths[name] = strength) : left.push(name);
  for (const text of prompts) {
    try {
      await measure(readPrompt(text));
      usable.prompts.push(text);
    } catch {
      left.push(phrases(readPrompt(text)));
    }
  }
  const isKnown = [...root.querySelectorAll(".methods input")].some((radio) => radio.value === method);
  if (!isKnown) left.push(method);
  return { ...usable, method: isKnown ? method : readRecipe().method };
}

function wireRecipe() {
  part("use").addEventListener("click", () => part("recipe").click());
  part("recipe").addEventListener("change", () => {
    if (part("recipe").files[0]) useRecipe(part("recipe").files[0]);
    part("recipe").value = "";
  });
}
